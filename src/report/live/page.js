// Asks for the events of a run, keeps what they add up to, and draws it. Texts of a run are only ever
// put in as text.
"use strict";

const PAUSE = 1000;
const NOTES = 60;
const LONGEST = 1e8;
const $ = (id) => document.getElementById(id);

// ---- what is known ------------------------------------------------------------------------------

let server = { run: null, state: "waiting", pipeline: "", report: false, folder: null };
let known = nothing();

function nothing() {
  return {
    from: 0, pipeline: "", command: [], tasks: [], trials: [], first: null, last: null, end: null,
    took: new Map(), notes: [], failures: [], curves: new Map(), lost: 0, dirty: true,
    decoder: new TextDecoder(), line: [], held: 0,
  };
}

function task(number) {
  known.tasks[number] ??= { task: number, name: `task ${number}`, kind: "", needs: [], state: "open" };
  return known.tasks[number];
}

function plan({ tasks, trials }) {
  for (const it of tasks) known.tasks[it.task] = { ...it, state: "open", title: it.name };
  for (const it of trials) known.trials[it.trial] = it;
}

function end(number, state, event) {
  const it = task(number);
  Object.assign(it, { state, title: event.name ?? it.name, ended: Date.parse(event.time) });
  return it;
}

function take(event) {
  const time = Date.parse(event.time) || null;
  if (time) { known.first ??= time; known.last = time; }
  switch (event.event) {
    case "run_started":
      known.pipeline = event.pipeline;
      known.command = event.command ?? [];
      plan(event.plan);
      break;
    case "planned": plan(event.plan); break;
    case "task_started":
      Object.assign(task(event.task), {
        state: "running", title: event.name, began: time, phase: "", total: null, done: 0, unit: "",
        status: "", samples: [],
      });
      break;
    case "phase":
      Object.assign(task(event.task), {
        phase: event.phase, total: event.total, unit: event.unit, done: 0, samples: [], status: "",
      });
      break;
    case "progress": {
      const it = task(event.task);
      it.done = (it.done ?? 0) + event.by;
      it.samples = [...(it.samples ?? []), [time, it.done]].slice(-40);
      break;
    }
    case "status": task(event.task).status = event.text; break;
    case "metric": metric(event); break;
    case "note":
      known.notes.push(`${clockTime(time)} ${event.name}: ${event.text}`);
      if (known.notes.length > NOTES) known.notes.shift();
      break;
    case "waiting": task(event.task).status = `waiting for ${event.holder}`; break;
    case "cached": end(event.task, "cached", event).summary = event.summary; break;
    case "finished": {
      const it = end(event.task, "done", event);
      it.summary = event.summary;
      for (const key of [`stage ${it.name}`, `kind ${it.kind}`]) {
        const before = known.took.get(key) ?? [0, 0];
        known.took.set(key, [before[0] + event.seconds, before[1] + 1]);
      }
      break;
    }
    case "failed":
      end(event.task, "failed", event);
      known.failures.push({ name: event.name, message: event.message ?? "", help: event.help ?? [] });
      break;
    case "paused": end(event.task, "paused", event); break;
    case "interrupted": end(event.task, "interrupted", event); break;
    case "skipped": end(event.task, "skipped", event); break;
    case "lost": known.lost += event.events; break;
    case "run_finished": known.end = event; break;
  }
}

// A chart has what a training measures by one name on all of its splits. What it minimises in its steps and the loss of
// validation are the same cross-entropy, and belong on one chart.
function metric({ task: number, epoch, split, name, value }) {
  const chart = name === "class_loss" ? "loss" : name;
  const what = `${task(number).splits?.[split] ?? split}${chart === "loss" ? ` ${name.replace("_", " ")}` : ""}`;
  if (!known.curves.has(chart)) known.curves.set(chart, new Map());
  const tasks = known.curves.get(chart);
  if (!tasks.has(number)) tasks.set(number, new Map());
  const lines = tasks.get(number);
  if (!lines.has(what)) lines.set(what, new Map());
  // A training that is taken up again says its epochs again.
  lines.get(what).set(epoch, value);
}

// The lines that end in these bytes. What follows them waits for its end; what is too long for a line is
// left out, and counted.
function lines(bytes) {
  const parts = known.decoder.decode(bytes, { stream: true }).split("\n");
  const whole = [];
  for (const [at, part] of parts.entries()) {
    known.held += part.length;
    if (known.held > LONGEST) known.line = [];
    else known.line.push(part);
    if (at === parts.length - 1) break;
    if (known.held > LONGEST) known.lost += 1;
    else if (known.held) whole.push(known.line.join(""));
    known.line = [];
    known.held = 0;
  }
  return whole;
}

// ---- asking -------------------------------------------------------------------------------------

async function ask() {
  try {
    const answer = await fetch("state");
    if (!answer.ok) throw new Error(`the page's server answered ${answer.status}`);
    const state = await answer.json();
    if (state.run !== server.run) known = nothing();
    if (state.state !== server.state || state.report !== server.report) known.dirty = true;
    server = state;
    // As long as there is more: a long run comes in several parts.
    for (let more = state.state !== "waiting"; more;) {
      const part = await fetch(`events?run=${encodeURIComponent(state.run)}&from=${known.from}`);
      if (!part.ok) break;
      const bytes = new Uint8Array(await part.arrayBuffer());
      known.from += bytes.length;
      for (const line of lines(bytes)) take(JSON.parse(line));
      if (bytes.length) known.dirty = true;
      more = bytes.length > 500000;
    }
    draw();
  } catch (error) {
    show("lost", "no answer", `${error.message}; the run itself is not touched by this. Asking again.`);
  }
  setTimeout(ask, document.hidden ? 5 * PAUSE : PAUSE);
}

// ---- words --------------------------------------------------------------------------------------

function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (it) => String(it).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

function clockTime(time) {
  return time ? new Date(time).toTimeString().slice(0, 8) : "";
}

function amount(number) {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (number >= size) return `${(number / (unit === "k" ? 1e3 : size)).toPrecision(3)}${unit}`;
  }
  return number >= 10 || Number.isInteger(number) ? String(Math.round(number)) : number.toFixed(1);
}

function short(number) {
  if (number === 0) return "0";
  const size = Math.abs(number);
  return size < 1e-3 || size >= 1e5 ? number.toExponential(1) : String(+number.toPrecision(4));
}

const now = () => (server.state === "live" ? Date.now() : known.last ?? Date.now());

function rate(it) {
  const samples = it.samples ?? [];
  if (samples.length < 2) return null;
  const [from, before] = samples[0];
  const [, done] = samples[samples.length - 1];
  const seconds = (now() - from) / 1000;
  return seconds > 0.3 && done > before ? (done - before) / seconds : null;
}

const over = (it) => !["open", "running"].includes(it.state);
const whole = (it) => ["done", "cached"].includes(it.state);

function left(it) {
  const mean = () => {
    const found = known.took.get(`stage ${it.name}`) ?? known.took.get(`kind ${it.kind}`);
    return found ? found[0] / found[1] : null;
  };
  if (it.state === "open") return mean();
  const speed = rate(it);
  if (it.total && speed) return Math.max(0, it.total - it.done) / speed;
  const usual = mean();
  return usual === null ? null : Math.max(0, usual - (now() - it.began) / 1000);
}

function leftOfAll(running) {
  let sum = 0;
  for (const it of known.tasks) {
    if (!it || over(it)) continue;
    const seconds = left(it);
    if (seconds === null) return null;
    sum += seconds;
  }
  return sum / Math.max(1, running.length);
}

function trialState(trial) {
  const tasks = trial.tasks.map(task);
  const some = (...states) => tasks.some((it) => states.includes(it.state));
  if (tasks.every(whole)) return "done";
  if (some("failed")) return "failed";
  if (some("running")) return "running";
  if (some("interrupted", "skipped")) return "stopped";
  if (some("paused")) return server.state === "ended" ? "pruned" : "paused";
  if (known.end) return "not run";
  return tasks.some(over) ? "begun" : "waiting";
}

// ---- drawing ------------------------------------------------------------------------------------

function make(tag, attributes = {}, ...inside) {
  const it = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) it.setAttribute(name, value);
  it.append(...inside);
  return it;
}

function draws(tag, attributes = {}, ...inside) {
  const it = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) it.setAttribute(name, value);
  it.append(...inside);
  return it;
}

// Sets only what changed, so that a screen reader does not begin again every second.
function text(it, words) {
  if (it.textContent !== words) it.textContent = words;
}

function show(kind, word, what) {
  const state = $("state");
  if (state.className !== `state ${kind}`) state.className = `state ${kind}`;
  text(state.firstElementChild, word);
  if ($("what").dataset.said !== what + server.report) {
    $("what").dataset.said = what + server.report;
    $("what").replaceChildren(what);
    if (kind !== "lost" && server.report) {
      $("what").append(" ", make("a", { href: "report.html" }, "Open the report"), ".");
    }
  }
}

function draw() {
  const tasks = known.tasks.filter(Boolean);
  const running = tasks.filter((it) => it.state === "running");
  const ended = tasks.filter(over);
  const count = (...states) => tasks.filter((it) => states.includes(it.state)).length;
  const sweep = known.trials.some((it) => Object.keys(it.labels).length);
  const failed = count("failed");
  const pipeline = known.pipeline || server.pipeline;

  text($("title"), pipeline || "No run yet");
  document.title = `${tasks.length ? `${ended.length}/${tasks.length} ` : ""}${pipeline || "runner watch"}`;
  const at = server.folder ? ` Its results are in ${server.folder}.` : "";
  if (server.state === "waiting") {
    show("waiting", "waiting", "The run has not begun; this page shows it once it does.");
  } else if (server.state === "live") {
    show("live", "running", known.first ? `since ${clockTime(known.first)}` : "");
  } else if (server.state === "died") {
    show("died", "its process died", "The program was killed, or its machine went down. The same command resumes where it stopped.");
  } else if (failed) {
    show("bad", "over", `${failed} of ${tasks.length} stages failed.${at}`);
  } else if (count("interrupted", "skipped")) {
    show("bad", "interrupted", `The same command resumes where it stopped.${at}`);
  } else {
    show("ended", "finished", `The run is over.${at}`);
  }

  const share = tasks.length ? ended.length / tasks.length : 0;
  $("whole").value = share;
  text($("share"), `${Math.floor(100 * share)} %`);
  const seconds = known.end && server.state !== "live" ? known.end.seconds : known.first ? (now() - known.first) / 1000 : 0;
  const rest = server.state === "live" ? leftOfAll(running) : null;
  const facts = [
    ["stages over", `${ended.length} of ${tasks.length}`], ["made", count("done")],
    ["cached", count("cached")], ["failed", failed], ["running", server.state === "live" ? running.length : 0],
  ];
  if (count("skipped", "interrupted")) facts.push(["skipped", count("skipped", "interrupted")]);
  if (count("paused")) facts.push(["paused", count("paused")]);
  if (sweep) {
    const done = known.trials.filter((it) => trialState(it) === "done").length;
    facts.push(["trials done", `${done} of ${known.trials.length}`]);
  }
  facts.push(["elapsed", clock(seconds)]);
  if (server.state === "live") facts.push(["left, about", rest === null ? "not known yet" : clock(rest)]);
  if (known.lost) facts.push(["events lost", known.lost]);
  fill($("facts"), facts, ([name]) => name, ([name]) => make("div", {}, make("dt", {}, name), make("dd")), (it, [name, value]) => {
    it.className = name === "failed" && value ? "bad" : "";
    text(it.lastElementChild, String(value));
  });

  $("s-running").hidden = server.state !== "live";
  text($("h-curves"), server.state === "ended" ? "Learning curves" : "Learning curves so far");
  drawRunning(server.state === "live" ? running : []);
  if (!known.dirty) return;
  known.dirty = false;
  drawFailures();
  drawCurves();
  if (sweep) drawTrials();
  $("s-trials").hidden = !sweep;
  drawStages(tasks);
  $("s-notes").hidden = !known.notes.length;
  const notes = $("notes");
  const low = notes.scrollTop + notes.clientHeight > notes.scrollHeight - 8;
  text(notes, known.notes.join("\n"));
  if (low) notes.scrollTop = notes.scrollHeight;
}

// Keeps the children of `parent` as `items` has them, by key.
function fill(parent, items, key, create, update) {
  const have = new Map([...parent.children].map((it) => [it.dataset.key, it]));
  items.forEach((item, at) => {
    const name = String(key(item));
    let it = have.get(name);
    have.delete(name);
    if (!it) {
      it = create(item);
      it.dataset.key = name;
    }
    if (parent.children[at] !== it) parent.insertBefore(it, parent.children[at] ?? null);
    update(it, item);
  });
  for (const it of have.values()) it.remove();
}

function drawRunning(running) {
  $("idle").hidden = running.length > 0;
  $("running").closest("table").hidden = !running.length;
  const row = () => make("tr", {}, make("th", { scope: "row" }), make("td", { class: "nowrap" }),
    make("td", { class: "nowrap" }, make("progress", { max: 1 }), make("span")),
    make("td", { class: "right" }), make("td", { class: "nowrap" }), make("td", { class: "right" }),
    make("td", { class: "right" }));
  fill($("running"), running, (it) => it.task, row, (tr, it) => {
    const [name, phase, progress, speed, status, elapsed, eta] = tr.children;
    text(name, it.title);
    text(phase, it.phase ?? "");
    const bar = progress.firstElementChild;
    bar.setAttribute("aria-label", `Progress of ${it.title}`);
    if (it.total) bar.value = it.done / it.total; else bar.removeAttribute("value");
    text(progress.lastElementChild, it.total ? ` ${amount(it.done)} of ${amount(it.total)} ${it.unit}` : ` ${it.done || ""}`);
    const per = rate(it);
    text(speed, per === null ? "" : `${amount(per)}/s`);
    text(status, it.status ?? "");
    text(elapsed, clock((now() - it.began) / 1000));
    const seconds = left(it);
    text(eta, seconds === null ? "" : clock(seconds));
  });
}

function drawFailures() {
  $("s-failures").hidden = !known.failures.length;
  $("failures").replaceChildren(...known.failures.map((it) => make("li", {},
    make("strong", {}, it.name), `: ${it.message}`, ...it.help.map((line) => make("div", { class: "quiet" }, `help: ${line}`)))));
}

// As much of the end of a dotted key as tells it from the others.
function brief(key, keys) {
  const parts = key.split(".");
  for (let from = parts.length - 1; from > 0; from--) {
    const end = parts.slice(from).join(".");
    if (keys.filter((it) => it === end || it.endsWith(`.${end}`)).length === 1) return end;
  }
  return key;
}

function drawTrials() {
  const axes = [...new Set(known.trials.flatMap((it) => Object.keys(it.labels)))];
  const names = ["trial", ...axes.map((it) => brief(it, axes)), "state", "stages", "at"];
  if ($("trials-head").dataset.names !== names.join()) {
    $("trials-head").dataset.names = names.join();
    $("trials-head").replaceChildren(make("tr", {}, ...names.map((it, at) => make("th", { scope: "col", title: axes[at - 1] ?? "" }, it))));
    $("trials").replaceChildren();
  }
  const row = () => make("tr", {}, make("th", { scope: "row" }), ...names.slice(1).map(() => make("td", { class: "nowrap" })));
  fill($("trials"), known.trials, (it) => it.trial, row, (tr, it) => {
    const tasks = it.tasks.map(task);
    const state = trialState(it);
    const busy = tasks.find((t) => t.state === "failed") ?? tasks.find((t) => t.state === "running");
    const cells = [String(it.trial).padStart(3, "0"), ...axes.map((axis) => it.labels[axis] ?? ""),
      state, `${tasks.filter(over).length}/${tasks.length}`, busy ? busy.name : ""];
    cells.forEach((words, at) => text(tr.children[at], String(words)));
    tr.children[axes.length + 1].className = `nowrap word-${state}`;
  });
}

const MARKS = { done: "✓", cached: "=", running: "▸", failed: "✕", skipped: "–", interrupted: "–", paused: "‖", open: "" };

function drawStages(tasks) {
  if (!$("key").childElementCount) {
    for (const [state, mark] of Object.entries(MARKS)) {
      const words = { open: "to come", done: "made" }[state] ?? state;
      $("key").append(make("span", {}, make("span", { class: `cell ${state}`, "aria-hidden": "true" }, mark), words));
    }
  }
  const groups = new Map();
  for (const it of tasks) {
    if (!groups.has(it.name)) groups.set(it.name, []);
    groups.get(it.name).push(it);
  }
  const row = () => make("tr", {}, make("th", { scope: "row" }), make("td"), make("td"), make("td", {}, make("span"), make("ul", { class: "cells" })));
  fill($("stages"), [...groups], ([name]) => name, row, (tr, [name, group]) => {
    text(tr.children[0], name);
    text(tr.children[1], group[0].kind);
    const needs = new Set(group.flatMap((it) => it.needs.map((number) => task(number).name)));
    text(tr.children[2], [...needs].join(", ") || "–");
    const states = new Map();
    for (const it of group) states.set(it.state, (states.get(it.state) ?? 0) + 1);
    const word = (state) => ({ open: "to come", done: "made" }[state] ?? state);
    const words = [...states].map(([state, number]) => (group.length === 1 ? word(state) : `${number} ${word(state)}`));
    const summary = group.length === 1 && group[0].summary ? `: ${group[0].summary}` : "";
    text(tr.children[3].firstElementChild, words.join(", ") + summary);
    fill(tr.children[3].lastElementChild, group, (it) => it.task, () => make("li", { class: "cell" }), (li, it) => {
      li.className = `cell ${it.state}`;
      const title = `${it.title ?? it.name}: ${word(it.state)}${it.summary ? `, ${it.summary}` : ""}`;
      if (li.title !== title) { li.title = title; li.setAttribute("aria-label", title); }
      text(li, MARKS[it.state] ?? "");
    });
  });
}

const COLOURS = 10;

function drawCurves() {
  $("s-curves").hidden = !known.curves.size;
  if (!known.curves.size) return;
  const select = $("metric");
  const names = [...known.curves.keys()];
  if (select.options.length !== names.length) {
    const before = select.value;
    select.replaceChildren(...names.map((it) => make("option", { value: it }, it)));
    select.value = names.includes(before) ? before : names[0];
  }
  // Until somebody chooses: what most trainings have.
  if (!select.dataset.chosen || !names.includes(select.value)) {
    const tasks = (it) => known.curves.get(it)?.size ?? 0;
    const most = Math.max(...names.map(tasks));
    const liked = ["accuracy", "loss"];
    select.value = liked.find((it) => tasks(it) * 2 > most) ?? names[0];
  }
  const groups = new Map();
  for (const [number, lines] of known.curves.get(select.value) ?? []) {
    const name = task(number).name;
    if (!groups.has(name)) groups.set(name, []);
    for (const [what, found] of lines) {
      const points = [...found].filter(([, value]) => Number.isFinite(value)).sort((a, b) => a[0] - b[0]);
      groups.get(name).push({ number, what, points });
    }
  }
  const all = [...groups.values()].flat().flatMap(({ points }) => points.map((it) => it[1]));
  let [low, high] = [Math.min(...all), Math.max(...all)];
  if (!Number.isFinite(low)) return $("curves").replaceChildren();
  if (high - low < 1e-9) [low, high] = [low - Math.abs(low) * 0.05 - 1e-6, high + Math.abs(high) * 0.05 + 1e-6];
  $("curves").replaceChildren(...[...groups].map(([name, lines]) => figure(name, select.value, lines, low, high)));
}

// The patterns of lines, by what is measured.
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "1 4"];

// About how wide a label is at the size of the page's charts.
const widthOf = (words) => 7 * words.length;

function figure(name, metric, lines, low, high) {
  const whats = [...new Set(lines.map((it) => it.what))];
  const numbers = [...new Set(lines.map((it) => it.number))];
  const rows = Array.from({ length: 5 }, (_, at) => low + (high - low) * at / 4);
  const [W, H, R, T, B] = [400, 230, 18, 10, 34];
  const L = Math.max(...rows.map((it) => widthOf(short(it)))) + 12;
  const last = Math.max(2, ...lines.map(({ points }) => points.at(-1)?.[0] ?? 1));
  const x = (epoch) => L + (epoch - 1) / (last - 1) * (W - L - R);
  const y = (value) => T + (high - value) / (high - low) * (H - T - B);
  const range = (what) => {
    const ends = lines.filter((it) => it.what === what).map(({ points }) => points.at(-1)?.[1]).filter(Number.isFinite);
    const [least, most] = [short(Math.min(...ends)), short(Math.max(...ends))];
    return least === most ? least : `${least} to ${most}`;
  };
  const said = whats.map((what) => `${what} last ${range(what)}`).join(", ");
  const label = `${metric} of ${name} by epoch: ${lines.length} curve${lines.length > 1 ? "s" : ""}, ${said}`;
  const svg = draws("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label });
  for (const value of rows) {
    svg.append(draws("line", { class: "grid", x1: L, x2: W - R, y1: y(value), y2: y(value) }),
      draws("text", { x: L - 6, y: y(value) + 4, "text-anchor": "end" }, short(value)));
  }
  const step = Math.max(1, Math.ceil((last - 1) / 6));
  for (let epoch = 1; epoch <= last; epoch += step) {
    svg.append(draws("text", { x: x(epoch), y: H - B + 16, "text-anchor": "middle" }, String(epoch)));
  }
  svg.append(draws("text", { x: (L + W - R) / 2, y: H - 3, "text-anchor": "middle" }, "epoch"));
  // One training has a colour for each thing that is measured, several have a colour each.
  const colourOf = ({ number, what }) => (numbers.length > 1 ? numbers.indexOf(number) : whats.indexOf(what)) % COLOURS;
  const dashOf = (what) => DASHES[whats.indexOf(what) % DASHES.length];
  for (const line of lines.filter((it) => it.points.length)) {
    const { number, what, points } = line;
    const colour = `c${colourOf(line)}`;
    const title = draws("title", {}, `${task(number).title ?? name}, ${what}: ${points.map((it) => short(it[1])).join(", ")}`);
    const place = ([epoch, value]) => `${x(epoch).toFixed(1)},${y(value).toFixed(1)}`;
    if (points.length === 1) {
      svg.append(draws("circle", { cx: x(points[0][0]), cy: y(points[0][1]), r: 2, class: colour }, title));
    } else {
      svg.append(draws("polyline", {
        class: `${lines.length > 8 ? "curve many" : "curve"} ${colour}`, points: points.map(place).join(" "),
        "stroke-dasharray": dashOf(what),
      }, title));
    }
  }
  const key = (what) => {
    const colour = numbers.length > 1 ? "" : `c${whats.indexOf(what) % COLOURS}`;
    const stroke = draws("line", { class: `curve ${colour}`, x1: 0, x2: 24, y1: 5, y2: 5, "stroke-dasharray": dashOf(what) });
    return make("span", {}, draws("svg", { class: "sample", viewBox: "0 0 24 10", "aria-hidden": "true" }, stroke), `${what} `,
      make("small", {}, range(what)));
  };
  const tasks = numbers.length > 1 ? `${numbers.length} tasks, last values` : "last values";
  return make("figure", {}, make("figcaption", {}, `${name} `, make("small", {}, tasks)), svg,
    make("div", { class: "keys" }, ...whats.map(key)));
}

// ---- light and dark -----------------------------------------------------------------------------

function theme(dark) {
  document.documentElement.classList.toggle("dark", dark);
  $("theme").textContent = dark ? "Light" : "Dark";
}

theme(matchMedia("(prefers-color-scheme: dark)").matches);
$("theme").addEventListener("click", () => theme(!document.documentElement.classList.contains("dark")));
$("metric").addEventListener("change", () => {
  $("metric").dataset.chosen = "yes";
  drawCurves();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) draw(); });
ask();
