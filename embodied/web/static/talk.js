"use strict";
// Text from people and models goes into the page as text nodes alone.
const $ = (id) => document.getElementById(id);
const largest = new Map();
let picture = null;

function put(node, text) { if (node.textContent !== text) node.textContent = text; }

function requestId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

// One id per intention: a request that is sent again after a lost answer is acted upon once.
async function post(kind, text) {
  const body = JSON.stringify({ kind, text, id: requestId() });
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      const answer = await fetch("/requests", { method: "POST", headers: { "content-type": "application/json" }, body });
      const found = await answer.json();
      put($("message"), found.error || "");
      return;
    } catch (error) {
      await new Promise((done) => setTimeout(done, 300 * (attempt + 1)));
    }
  }
  put($("message"), "the robot's program does not answer");
}

function showTerms(terms) {
  const box = $("terms");
  const names = Object.keys(terms);
  const shown = Array.from(box.children, (row) => row.dataset.name);
  if (names.join() !== shown.join()) {
    largest.clear();
    box.replaceChildren(...names.map((name) => {
      const row = document.createElement("div");
      row.className = "term";
      row.dataset.name = name;
      for (const part of ["name", "track", "value"]) {
        const cell = document.createElement("span");
        cell.className = part;
        row.append(cell);
      }
      row.children[0].textContent = name.replaceAll("_", " ");
      const fill = document.createElement("div");
      fill.className = "fill";
      row.children[1].append(fill);
      return row;
    }));
  }
  for (const row of box.children) {
    const value = terms[row.dataset.name];
    const top = Math.max(largest.get(row.dataset.name) || 1e-3, Math.abs(value));
    largest.set(row.dataset.name, top);
    row.children[1].firstChild.style.width = `${(100 * Math.abs(value) / top).toFixed(1)}%`;
    put(row.children[2], value.toFixed(3));
  }
}

function showPulse(view) {
  const p = view.pulse, starved = p.late > 0.2;
  const parts = [`${view.phase}`, `${p.plans_hz.toFixed(0)} plans/s`, `${p.samples.toFixed(0)} samples`,
    `${p.plan_ms.toFixed(0)} ms a plan`, `control ${p.steps_hz.toFixed(0)} Hz`, `t = ${view.t_s.toFixed(1)} s`];
  if (p.restarts) parts.push(`${p.restarts} planner restarts`);
  if (starved) parts.push("this machine is too busy: control is late");
  put($("pulse"), parts.join(" · "));
  $("pulse").classList.toggle("late", starved);
}

function showReadings(readings) {
  const list = $("readings");
  if (list.children.length !== 2 * readings.length) {
    list.replaceChildren(...readings.flatMap(({ name }) => {
      const term = document.createElement("dt"), value = document.createElement("dd");
      term.textContent = name.replaceAll(/[._]/g, " ");
      value.id = `reading-${name}`;
      return [term, value];
    }));
  }
  for (const { name, value, unit } of readings) {
    put($(`reading-${name}`), `${value.map((v) => v.toFixed(3)).join("  ")} ${unit}`);
  }
}

function showList(list, rows) {
  const key = JSON.stringify(rows);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...rows.map(({ text, mark, links }) => {
    const item = document.createElement("li");
    item.className = mark || "";
    if (text) item.append(text);
    for (const [name, href] of links || []) {
      const link = document.createElement("a");
      link.href = href;
      link.textContent = name;
      item.append(link, " ");
    }
    return item;
  }));
}

function show(view) {
  showPulse(view);
  showTerms(view.pulse.terms);
  showReadings(view.readings);
  const last = view.turns[view.turns.length - 1];
  put($("description"), last ? last.description || last.code : "");
  const said = view.turns.map((turn, i) => ({ text: turn.text, mark: i === view.turns.length - 1 ? "now" : "" }));
  if (view.asking) said.push({ text: `${view.asking} …`, mark: "waits" });
  showList($("history"), said);
  showList($("saved"), view.saved.map((files) => ({
    links: Object.entries(files).map(([kind, id]) => [kind, `/media/${id}`]),
  })));
  if (view.message || $("message").dataset.from === "view") {
    put($("message"), view.message);
    $("message").dataset.from = view.message ? "view" : "";
  }
  if (view.no_camera) $("camera").alt = view.no_camera;
}

function connect() {
  const socket = new WebSocket(`ws://${location.host}/stream`);
  socket.binaryType = "blob";
  socket.onmessage = (event) => {
    if (typeof event.data === "string") {
      show(JSON.parse(event.data));
      return;
    }
    const url = URL.createObjectURL(event.data);
    $("camera").src = url;
    if (picture) URL.revokeObjectURL(picture);
    picture = url;
  };
  socket.onclose = () => {
    put($("pulse"), "no connection to the robot's program; trying again");
    setTimeout(connect, 1000);
  };
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  $("text").value = "";
  post("say", text);
});
$("undo").addEventListener("click", () => post("undo", ""));
$("keep").addEventListener("click", () => post("save", ""));
connect();
