"use strict";

const find = (id) => document.getElementById(id);
const RAMP = [[43, 26, 95], [138, 42, 131], [224, 86, 74], [251, 176, 59], [252, 250, 154]];
let limits = null;
let shown = null; // {answer, index} of what is on the page
let latest = 0; // number of the newest photo: an older answer that comes late is dropped

fetch("/v1/model").then((response) => response.json()).then((model) => {
  limits = model.limits;
  find("model").textContent = `${model.backbone}, ${model.num_classes} classes`;
  find("limits").textContent = `up to ${Math.floor(limits.body_bytes / 1e6)} MB`;
}).catch(() => complain("The service does not answer. Load the page again in a moment."));

find("form").addEventListener("submit", (event) => event.preventDefault());
find("file").addEventListener("change", (event) => {
  if (event.target.files.length) send(event.target.files[0]);
  event.target.value = ""; // so that the same photo can be chosen again
});
// A drop anywhere on the page counts; else the browser would leave the page for the photo.
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    find("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind !== "drop") return;
    const file = event.dataTransfer.files[0];
    if (file) send(file);
    else complain("That was no file. Drop a photo that is stored on this device.");
  });
}
document.addEventListener("paste", (event) => {
  const file = event.clipboardData.files[0];
  if (file) send(file);
});
find("show").addEventListener("change", draw);

async function send(file) {
  const number = ++latest;
  find("problem").hidden = true;
  if (limits && file.size > limits.body_bytes - 1000) {
    return complain(`This file has ${(file.size / 1e6).toFixed(1)} MB, more than this service takes.`);
  }
  find("status").className = "";
  find("status").textContent = "Looking…";
  find("result").classList.add("busy");
  const form = new FormData();
  form.append("photo", file);
  const started = performance.now();
  try {
    const response = await fetch("/v1/predict?activation=true", { method: "POST", body: form });
    const answer = await response.json();
    if (number !== latest) return;
    if (!response.ok) {
      const again = response.headers.get("Retry-After");
      const wait = again ? ` Try again in ${again} s.` : "";
      return complain(`${answer.title}: ${answer.detail}.${wait}`);
    }
    await present(file, answer.photos[0], performance.now() - started);
  } catch (error) {
    if (number === latest) complain("The service did not answer. Check the connection and try again.");
  }
}

function complain(text) {
  find("status").textContent = "";
  find("result").classList.remove("busy");
  find("result").hidden = true;
  find("problem").textContent = text;
  find("problem").hidden = false;
}

async function present(file, answer, milliseconds) {
  const photo = find("photo");
  if (photo.src) URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(file);
  await photo.decode().catch(() => {}); // a format that only the service can read
  photo.alt = `The photo that was sent${file.name ? ", " + file.name : ""}`;
  find("form").className = "done";
  find("result").hidden = false;
  find("result").classList.remove("busy");
  const first = answer.classes[0];
  find("status").className = "heard"; // the list says it to the eye
  find("status").textContent = `${first.name}, ${percent(first.probability)}`;
  find("took").textContent = `${answer.width} × ${answer.height} px, answered in ${Math.round(milliseconds)} ms`;
  const looks = Boolean(first.activation) && photo.naturalWidth > 0;
  find("legend").hidden = !looks;
  find("hint").hidden = !looks;
  find("classes").replaceChildren(...answer.classes.map((one, index) => entry(one, index, looks)));
  const [left, top, right, bottom] = answer.box;
  find("unseen").hidden = left <= 0 && top <= 0 && right >= answer.width && bottom >= answer.height;
  choose(answer, 0);
}

function entry(one, index, looks) {
  const item = document.createElement("li");
  const outer = document.createElement(looks ? "button" : "div");
  outer.className = "class";
  if (looks) {
    outer.type = "button";
    outer.addEventListener("click", () => choose(shown.answer, index));
  }
  const row = span("row");
  row.append(span("name", one.name), span("percent", percent(one.probability)));
  const bar = span("bar");
  bar.style.width = `${100 * one.probability}%`;
  const track = span("track");
  track.append(bar);
  outer.append(row, track);
  item.append(outer);
  return item;
}

function span(name, text = "") {
  const made = document.createElement("span");
  made.className = name;
  made.textContent = text;
  return made;
}

function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return `${(100 * share).toFixed(1)} %`;
}

function choose(answer, index) {
  shown = { answer, index };
  document.querySelectorAll("button.class").forEach((button, place) => {
    button.setAttribute("aria-pressed", String(place === index));
  });
  draw();
}

// The map lies over the part of the photo that the network saw; the rest is dimmed.
function draw() {
  const canvas = find("heat");
  const { answer, index } = shown;
  const scale = Math.min(1, 1024 / Math.max(answer.width, answer.height));
  canvas.width = Math.max(1, Math.round(answer.width * scale));
  canvas.height = Math.max(1, Math.round(answer.height * scale));
  const grid = answer.classes[index].activation;
  if (!grid || !find("show").checked || !find("photo").naturalWidth) return;
  const paint = canvas.getContext("2d");
  const [left, top, right, bottom] = answer.box.map((side) => side * scale);
  paint.fillStyle = "rgb(0 0 0 / 55%)";
  paint.fillRect(0, 0, canvas.width, canvas.height);
  paint.clearRect(left, top, right - left, bottom - top);
  paint.imageSmoothingEnabled = true;
  paint.imageSmoothingQuality = "high";
  paint.save();
  paint.beginPath();
  paint.rect(left, top, right - left, bottom - top);
  paint.clip();
  paint.drawImage(colours(grid), left, top, right - left, bottom - top);
  paint.restore();
}

// Strongest place: 1. What speaks against the class: 0, and clear. Enlarged here by our own
// interpolation, because a browser's leaves visible squares.
function colours(grid) {
  const strongest = Math.max(1e-9, ...grid.flat());
  const side = 128;
  const small = document.createElement("canvas");
  small.width = small.height = side;
  const pixels = new ImageData(side, side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const value = Math.max(0, sample(grid, (x + 0.5) / side, (y + 0.5) / side) / strongest);
      const place = Math.min(0.9999, value) * (RAMP.length - 1);
      const low = Math.floor(place);
      const colour = RAMP[low].map((from, channel) => from + (place - low) * (RAMP[low + 1][channel] - from));
      pixels.data.set([...colour, 200 * Math.pow(value, 0.8)], 4 * (y * side + x));
    }
  }
  small.getContext("2d").putImageData(pixels, 0, 0);
  return small;
}

function sample(grid, across, down) {
  const clamp = (value, size) => Math.min(size - 1, Math.max(0, value));
  const rows = grid.length, columns = grid[0].length;
  const y = clamp(down * rows - 0.5, rows), x = clamp(across * columns - 0.5, columns);
  const y0 = Math.floor(y), x0 = Math.floor(x);
  const y1 = clamp(y0 + 1, rows), x1 = clamp(x0 + 1, columns);
  const smooth = (part) => part * part * (3 - 2 * part);
  const v = smooth(y - y0), u = smooth(x - x0);
  return (1 - v) * ((1 - u) * grid[y0][x0] + u * grid[y0][x1]) + v * ((1 - u) * grid[y1][x0] + u * grid[y1][x1]);
}
