"use strict";
// The live section: its controls, and what follows from them. One pass a frame, however often the slider moves.
const startLive = section => {
  const at = name => document.getElementById(`live-${name}`);
  const given = JSON.parse(at("data").textContent);
  const numbers = readLive(given), figures = liveFigures(given.looks);
  const label = key => numbers.labels.find(each => each.key === key);
  const boxes = Array.from(section.querySelectorAll(".live-filter input"));
  const presets = Array.from(section.querySelectorAll(".live-preset"));
  const slider = at("slider"), exact = at("exact"), hint = at("hint");
  const [scoreChoice, groupChoice, layerChoice, clockChoice] = ["score", "group", "layer", "clock"].map(at);
  const GRID = 73, LATER = 60, FEW_LINES = 4, ROWS = 60, STRIDE = 240;
  const own = given.exponent === null;
  const state = {own, exponent: own ? presets[0] ? Number(presets[0].dataset.exponent) : 0.5 : given.exponent};
  const several = new Set(numbers.runs).size > 1;
  let shown, pending = null, telling = 0, training = 0, stale = true;

  const written = value => !Number.isFinite(value) ? "–"
    : value === 0 || Math.abs(value) >= 1e-3 ? value.toFixed(7) : value.toExponential(6);
  const brief = value => !Number.isFinite(value) ? "–" : value === 0 || Math.abs(value) >= 1e-3 ? value.toFixed(4) : value.toExponential(2);
  const fraction = exponent => {
    for (let n = 2; n <= 12; n++) if (Math.abs(exponent * n - 1) < 1e-12) return ` (1/${n})`;
    return "";
  };
  const exactText = exponent => /1\/\d+/.exec(fraction(exponent))?.[0] ?? `${Number(exponent.toPrecision(7))}`;
  const exponentText = exponent => `${Number(exponent.toPrecision(7))}${fraction(exponent)}`;
  const exponentOf = series => state.own ? numbers.own[series] : state.exponent;
  const nameOf = (compared, code) => compared.values.some(value => /\d/.test(value)) ? `${compared.name} ${compared.values[code]}` : compared.values[code];
  const finite = values => values.filter(Number.isFinite);

  // What is shown: the series that pass the filters, in cells of one layer and one group.
  const arrange = () => {
    const allowed = numbers.labels.map(each => each.values.map(() => true));
    for (const box of boxes) allowed[Number(box.dataset.label)][Number(box.value)] = box.checked;
    const members = [];
    for (let series = 0; series < numbers.count; series++) {
      if (numbers.labels.every((each, k) => allowed[k][each.codes[series]])) members.push(series);
    }
    const layers = label("layer"), compared = groupChoice ? label(groupChoice.value) : layers;
    const grouped = compared !== layers;
    const cells = new Map();
    for (const series of members) {
      const layer = layers.codes[series], group = grouped ? compared.codes[series] : 0, key = `${layer} ${group}`;
      if (!cells.has(key)) cells.set(key, {layer, group, all: []});
      cells.get(key).all.push(series);
    }
    const ordered = [...cells.values()].sort((a, b) => a.layer - b.layer || a.group - b.group);
    const present = [...new Set(ordered.map(cell => cell.layer))];
    for (const cell of ordered) {  // a tautology is shown where there is nothing else, and never counted among others
      const counting = cell.all.filter(series => !numbers.tautological[series]);
      cell.tautology = !counting.length;
      cell.members = counting.length ? counting : cell.all;
      cell.left = cell.all.length - cell.members.length;
      cell.place = present.indexOf(cell.layer);
      cell.groupName = grouped ? nameOf(compared, cell.group) : "";
      cell.name = [layers.values[cell.layer], cell.groupName].filter(Boolean).join(", ");
    }
    const groups = [...new Set(ordered.map(cell => cell.group))].sort((a, b) => a - b);
    offerLayers(present, layers);
    const layer = layerChoice && !layerChoice.hidden ? Number(layerChoice.value) : present[0];
    const lines = (grouped ? ordered.filter(cell => cell.layer === layer) : ordered)
      .map(cell => ({rank: grouped ? cell.group : cell.layer, name: `${grouped ? cell.groupName : layers.values[cell.layer]}${cell.tautology ? " (tautology)" : ""}`, members: cell.members}));
    const drawnGroups = groups.slice(0, figures.most);
    shown = {
      members, cells: ordered, grouped, groups: drawnGroups, present, lines: lines.slice(0, figures.most),
      ticks: present.map(code => layers.values[code]),
      groupNames: grouped ? compared.values.map((_, code) => nameOf(compared, code)) : [],
      layerName: grouped && present.length ? layers.values[layer] : "",
      runs: new Set(members.map(series => numbers.runs[series])).size,
      cut: [
        groups.length > figures.most ? `${figures.most} of ${groups.length} groups are drawn` : "",
        lines.length > figures.most ? `${figures.most} of ${lines.length} lines are drawn` : "",
      ].filter(Boolean),
    };
    buildTable();
  };
  const offerLayers = (present, layers) => {
    if (!layerChoice) return;
    const kept = layerChoice.value, grouped = groupChoice.value !== "layer";
    layerChoice.replaceChildren(...present.map(code => new Option(layers.values[code], code)));
    if (present.map(String).includes(kept)) layerChoice.value = kept;
    layerChoice.hidden = !grouped || present.length < 2;
    layerChoice.parentElement.hidden = layerChoice.hidden;
  };

  // Numbers of the cells at the exponent of the moment.
  const measure = () => {
    const kind = scoreChoice.value;
    for (const cell of shown.cells) {
      const values = finite(cell.members.map(series => numbers.score(series, exponentOf(series), kind)));
      const starts = finite(cell.members.map(series => numbers.start(series, exponentOf(series), kind)));
      const nulls = cell.members.map(series => numbers.nullOf(series, exponentOf(series), kind)).filter(Boolean);
      cell.value = medianOf(values);
      cell.low = values.length ? values.reduce((a, b) => Math.min(a, b)) : NaN;
      cell.high = values.length ? values.reduce((a, b) => Math.max(a, b)) : NaN;
      cell.without = cell.members.length - values.length;
      cell.start = medianOf(starts);
      const middle = part => medianOf(nulls.map(each => each[part]));
      cell.null = nulls.length ? {mean: middle("mean"), sd: middle("sd"), low: middle("low"), high: middle("high")} : null;
    }
  };
  const words = () => ({
    score: given.scores[scoreChoice.value], log: scoreChoice.value === "residual", least: given.precision === "single" ? 1e-8 : 1e-16,
    groupNames: shown.grouped ? shown.groupNames : [given.scores[scoreChoice.value]],
    nullName: scoreChoice.value === "residual" && given.null === "rotation" ? "null: root mean square, ± 2 sd of the cosine" : "null: mean ± 2 sd",
    startName: given.start_name,
  });

  // Lines: against the exponent, which only its mark follows, and over training, which follows it.
  const summarised = columns => ({
    y: columns.map(medianOf),
    low: columns.map(values => values.reduce((a, b) => Math.min(a, b), Infinity)),
    high: columns.map(values => values.reduce((a, b) => Math.max(a, b), -Infinity)),
  });
  const drawCurves = () => {
    const kind = scoreChoice.value, weight = shown.lines.reduce((sum, line) => sum + line.members.reduce((a, s) => a + numbers.rank(s), 0), 0);
    const size = weight > 60000 ? (GRID + 1) / 2 : GRID;
    const even = Array.from({length: size}, (_, k) => given.stops[0] * (given.stops.at(-1) / given.stops[0]) ** (k / (size - 1)));
    const grid = [...new Set([...even, ...given.exponents])].sort((a, b) => a - b);  // a sharp minimum is not missed
    const withNull = shown.lines.length <= FEW_LINES;
    const curves = shown.lines.map(line => ({
      ...line, x: grid, wide: line.members.length > 1,
      ...summarised(grid.map(exponent => finite(line.members.map(series => numbers.score(series, exponent, kind))))),
      null: withNull ? grid.map(exponent => medianOf(finite(line.members.map(s => numbers.nullOf(s, exponent, kind)?.mean ?? NaN)))) : null,
    })).map(curve => curve.null?.some(Number.isFinite) ? curve : {...curve, null: null});
    figures.curves(curves, marked(), words());
  };
  const marked = () => {
    const asked = shown.lines.flatMap(line => line.members).map(exponentOf).filter(Number.isFinite);
    return [...new Set(asked)].slice(0, 12);
  };
  const drawTraining = () => {
    const kind = scoreChoice.value, clock = (clockChoice?.value ?? given.clock) === "flow" ? numbers.flowTimes : numbers.steps;
    const traced = shown.lines.map(line => ({...line, members: line.members.filter(series => numbers.moments[series])}));
    const runs = new Set(traced.flatMap(line => line.members).map(series => numbers.runs[series])).size;
    const times = [];
    const paths = traced.map(line => line.members.map(series => {
      const path = [];
      for (let k = 0; k < numbers.moments[series]; k++) {
        const time = clock[numbers.firstMoment[series] + k];
        if (!Number.isNaN(time)) path.push([time, numbers.moment(series, k, exponentOf(series), kind)]);
      }
      times.push(...path.map(([time]) => time));
      return path;
    }).filter(path => path.length));
    const {zero, axis} = figures.timeAxis(clock === numbers.steps ? "step" : "flow time", times.length ? times : [1, 10]);
    const moved = time => time > 0 ? time : zero;
    const curves = traced.map((line, k) => {
      const ticks = [...new Set(paths[k].flatMap(path => path.map(([time]) => time)))].sort((a, b) => a - b);
      const every = Math.ceil(ticks.length / STRIDE), x = ticks.filter((_, place) => place % every === 0 || place === ticks.length - 1);
      return {...line, x: x.map(moved), wide: paths[k].length > 1, ...summarised(x.map(time => finite(paths[k].map(path => along(path, time, moved)))))};
    }).filter(curve => curve.x.length);
    at("training-note").textContent = shown.lines.length ? `${runs} run${runs === 1 ? "" : "s"} of those chosen${shown.layerName ? `; layer ${shown.layerName}` : ""}.` : "";
    figures.training(curves, axis, words());
  };
  const along = (path, time, moved) => {  // between its snapshots a run is interpolated, beyond them it is not there
    const right = path.findIndex(([each]) => each >= time);
    if (right < 0 || right === 0 && path[0][0] !== time) return NaN;
    if (path[right][0] === time) return path[right][1];
    const [[x0, y0], [x1, y1]] = [path[right - 1], path[right]].map(([x, y]) => [Math.log(moved(x)), y]);
    return y0 + (y1 - y0) * (Math.log(time) - x0) / (x1 - x0);
  };

  const pair = cell => ["span", "small"].map(tag => cell.appendChild(document.createElement(tag)));  // below each other
  // The table, whose rows are made when the choice changes and filled when a number does.
  const buildTable = () => {
    const rows = shown.cells.slice(0, ROWS).map(cell => {
      const row = document.createElement("tr");
      const add = (tag, text, kind) => {
        const made = document.createElement(tag);
        made.textContent = text;
        if (kind) made.className = kind;
        if (tag === "th") made.scope = "row";
        return row.appendChild(made);
      };
      add("th", label("layer").values[cell.layer], "condition");
      if (groupChoice) add("td", shown.grouped ? cell.groupName : "all", "condition");
      cell.row = {exponent: add("td", "", "number"), value: pair(add("td", "", "number")), null: pair(add("td", "", "number")), start: add("td", "", "number"), note: add("td", "", "reason")};
      return row;
    });
    at("rows").replaceChildren(...rows);
    at("cut").textContent = [
      ...shown.cut, shown.cells.length > ROWS ? `${ROWS} of ${shown.cells.length} rows are in the table` : "",
    ].filter(Boolean).map(each => `${each}; filter to see the others.`).join(" ");
  };
  const fillTable = () => {
    for (const cell of shown.cells.slice(0, ROWS)) {
      const {row} = cell, asked = [...new Set(cell.members.map(exponentOf))];
      row.exponent.textContent = asked.length === 1 ? Number.isFinite(asked[0]) ? exponentText(asked[0]) : "–" : "each its own";
      const range = (low, high) => `${brief(low)} to ${brief(high)}`;
      row.value[0].textContent = written(cell.value);
      row.value[1].textContent = cell.members.length - cell.without > 1 ? range(cell.low, cell.high) : "";
      row.null[0].textContent = cell.null ? written(cell.null.mean) : "–";
      row.null[1].textContent = !cell.null ? "" : Number.isFinite(cell.null.sd) ? `± ${written(cell.null.sd)}` : range(cell.null.low, cell.null.high);
      row.start.textContent = written(cell.start);
      row.note.textContent = [
        several ? `${cell.members.length} run${cell.members.length === 1 ? "" : "s"}` : "",
        cell.tautology ? "tautology, no evidence" : "",
        cell.left ? `${cell.left} tautologies left out` : "",
        cell.without ? `${cell.without} without a value (collapsed or no exponent of its own)` : "",
      ].filter(Boolean).join("; ");
    }
  };
  const summary = () => {
    if (!shown.cells.length) return "Nothing is chosen: the filters leave no layer.";
    const counting = shown.cells.filter(cell => !cell.tautology && Number.isFinite(cell.value));
    const places = `${shown.present.length} layer${shown.present.length === 1 ? "" : "s"}`;
    const runs = several ? ` of ${shown.runs} run${shown.runs === 1 ? "" : "s"}` : "";
    const where = state.own ? `At ${section.dataset.own}` : `α = ${exponentText(state.exponent)}`;
    if (!counting.length) return `${where}: ${places}${runs}; no number here is evidence.`;
    const [least, most] = [(a, b) => a.value <= b.value ? a : b, (a, b) => a.value >= b.value ? a : b].map(pick => counting.reduce(pick));
    const told = cell => `${written(cell.value)} (${cell.name})`;
    const span = counting.length > 1 ? `from ${told(least)} to ${told(most)}` : told(least);
    return `${where}: ${given.scores[scoreChoice.value]} of ${places}${runs}, ${span}.`;
  };

  const refresh = () => {
    const {structure, curves} = pending;
    pending = null;
    if (structure) arrange();
    measure();
    fillTable();
    figures.whenSeen("layers", () => figures.layers(shown.cells.filter(cell => shown.groups.includes(cell.group)), shown.groups, shown.ticks, words()));
    stale ||= curves;
    figures.whenSeen("curves", () => {
      if (stale) drawCurves(); else figures.mark(marked());
      stale = false;
    });
    if (at("training")) {  // the largest figure waits until the slider pauses for a moment
      clearTimeout(training);
      training = setTimeout(() => figures.whenSeen("training", drawTraining), structure ? 0 : LATER);
    }
    clearTimeout(telling);
    telling = setTimeout(() => { at("summary").textContent = summary(); }, 250);  // read aloud when the slider rests
  };
  const change = what => {
    if (!pending) requestAnimationFrame(refresh);
    pending = {...pending, ...what};
  };

  // Controls.
  const nearest = exponent => {
    let best = 0;
    given.stops.forEach((stop, place) => { if (Math.abs(Math.log(stop / exponent)) < Math.abs(Math.log(given.stops[best] / exponent))) best = place; });
    return best;
  };
  const showExponent = () => {
    const text = state.own ? section.dataset.own : exponentText(state.exponent);
    slider.value = nearest(state.exponent);
    slider.setAttribute("aria-valuetext", text);
    if (document.activeElement !== exact) exact.value = state.own ? "" : exactText(state.exponent);
    for (const preset of presets) {
      const on = preset.dataset.exponent ? !state.own && Number(preset.dataset.exponent) === state.exponent : state.own;
      preset.setAttribute("aria-pressed", on);
    }
  };
  const complain = message => {
    exact.setAttribute("aria-invalid", Boolean(message));
    hint.textContent = message;
  };
  const ask = exponent => {
    Object.assign(state, exponent === null ? {own: true} : {own: false, exponent});
    complain("");
    showExponent();
    change({});
  };
  const parsed = text => {
    const found = /^\s*([0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*(?:\/\s*([0-9]*\.?[0-9]+))?\s*$/i.exec(text);
    return found ? Number(found[1]) / (found[2] === undefined ? 1 : Number(found[2])) : NaN;
  };
  slider.max = given.stops.length - 1;
  slider.addEventListener("input", () => ask(given.stops[Number(slider.value)]));
  exact.addEventListener("input", () => {
    const exponent = parsed(exact.value);
    if (exponent >= given.stops[0] && exponent <= given.stops.at(-1)) ask(exponent);
    else complain(exact.value.trim() ? `${exact.value.trim()} is not a number from 0.05 to 4, nor such a fraction.` : "");
  });
  exact.addEventListener("blur", () => { complain(""); showExponent(); });
  presets.forEach(preset => preset.addEventListener("click", () => ask(preset.dataset.exponent ? Number(preset.dataset.exponent) : null)));
  scoreChoice.addEventListener("change", () => change({curves: true}));
  for (const choice of [groupChoice, layerChoice]) choice?.addEventListener("change", () => change({structure: true, curves: true}));
  clockChoice?.addEventListener("change", () => change({}));
  const tellFilters = () => {
    const left = boxes.filter(box => !box.checked).length;
    at("filter-state").textContent = left ? `${left} of ${boxes.length} boxes are not ticked` : "everything is shown";
  };
  boxes.forEach(box => box.addEventListener("change", () => { tellFilters(); change({structure: true, curves: true}); }));
  for (const button of section.querySelectorAll(".live-all")) {
    button.addEventListener("click", () => {
      for (const box of button.closest("fieldset").querySelectorAll("input")) box.checked = button.value === "all";
      tellFilters();
      change({structure: true, curves: true});
    });
  }
  at("filters").open = innerWidth > 800 && boxes.length <= 40;
  dark.addEventListener("change", () => change({curves: true}));
  let width = section.clientWidth;
  new ResizeObserver(() => {
    if (section.clientWidth !== width) { width = section.clientWidth; change({structure: true, curves: true}); }
  }).observe(section);
  section.querySelectorAll("[disabled]").forEach(control => { control.disabled = false; });
  tellFilters();
  showExponent();
  pending = {structure: true, curves: true};
  refresh();
  at("summary").textContent = summary();
  section.setAttribute("aria-busy", "false");
};
startLive(document.getElementById("live"));
