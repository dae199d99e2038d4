"use strict";

const here = location.origin;
document.getElementById("examples").textContent = `curl -F photo=@car.jpg -F photo=@other.png ${here}/v1/predict
curl -H 'Content-Type: image/jpeg' --data-binary @car.jpg '${here}/v1/predict?top_k=3'
echo "{\\"photos\\": [{\\"data\\": \\"$(base64 -w0 car.jpg)\\"}]}" |
  curl -H 'Content-Type: application/json' -d @- ${here}/v1/predict`;

function element(kind, text = "", name = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

function table(head, rows) {
  const made = element("table");
  const top = made.createTHead().insertRow();
  head.forEach((title) => top.append(element("th", title)));
  const body = made.createTBody();
  for (const cells of rows) {
    const row = body.insertRow();
    cells.forEach((cell) => row.insertCell().append(cell));
  }
  return made;
}

function describe(path, method, operation) {
  const section = element("section");
  const title = element("h3");
  title.append(element("span", method.toUpperCase(), "method"), " ", element("code", path));
  section.append(title, element("p", (operation.description || operation.summary).replaceAll("`", "")));
  const parameters = operation.parameters || [];
  if (parameters.length) {
    section.append(table(["parameter", "default", "what"], parameters.map((one) =>
      [element("code", one.name), String(one.schema.default ?? ""), one.description || ""])));
  }
  const kinds = Object.keys(operation.requestBody?.content || {});
  if (kinds.length) section.append(element("p", `Body: ${kinds.join(", ")}`));
  section.append(table(["status", "what"], Object.entries(operation.responses).map(([status, one]) =>
    [element("code", status), one.description])));
  return section;
}

fetch("/openapi.json").then((response) => response.json()).then((api) => {
  const sections = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => describe(path, method, operation)));
  document.getElementById("paths").replaceChildren(...sections);
}).catch(() => {
  document.getElementById("paths").replaceChildren(element("p", "openapi.json cannot be loaded."));
});
