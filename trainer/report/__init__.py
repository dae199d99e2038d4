"""What people see of a run: terminal, TensorBoard, pages."""
