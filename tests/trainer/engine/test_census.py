"""Every variable of the network is counted once in each stage."""

from tests.trainer.engine.conftest import two_stages
from trainer.engine.census import count_variables
from trainer.network.build import build_network
from trainer.plan import plan_stages


def test_trained_and_frozen_variables_are_the_whole_network() -> None:
    recipe = two_stages()
    plans = plan_stages(recipe, num_examples=48, num_replicas=1)
    head, upper = count_variables(recipe, plans, num_classes=10)
    network = build_network(recipe, 10, 32)
    assert head.num_parameters == upper.num_parameters == network.model.count_params()
    for stage in (head, upper):
        statistics = 2 * stage.trained_batch_norms
        total = stage.trained_variables + stage.frozen_variables + statistics
        assert total == len(network.variables())
    assert head.trained_batch_norms == 1
    assert head.trained_parameters < upper.trained_parameters < upper.num_parameters
