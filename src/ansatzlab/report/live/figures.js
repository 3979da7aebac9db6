"use strict";
// The three figures that follow the exponent. What they show comes ready: cells, lines, words. Plotly draws them without
// legends and with fixed margins, which would take longer than the rest; the legends beside them are lists.
const escaped = text => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");  // Plotly reads some HTML
const shortened = (text, width) => text.length > width ? `${text.slice(0, width - 1)}…` : text;
const faded = (colour, opacity) => `rgba(${[1, 3, 5].map(k => parseInt(colour.slice(k, k + 2), 16)).join(",")},${opacity})`;
const SHAPES = {  // in a box from −6 to 6
  "circle": "M5 0A5 5 0 1 1 -5 0A5 5 0 1 1 5 0Z", "square": "M-4.5 -4.5H4.5V4.5H-4.5Z", "diamond": "M0 -6L6 0L0 6L-6 0Z",
  "triangle-up": "M0 -5.5L5.5 4.5H-5.5Z", "x": "M-5 -3L-3 -5L0 -2L3 -5L5 -3L2 0L5 3L3 5L0 2L-3 5L-5 3L-2 0Z",
  "star": "M0 -6L1.5 -2H6L2.4 .7L3.7 5L0 2.4L-3.7 5L-2.4 .7L-6 -2H-1.5Z", "bar": "M-1.5 -6H1.5V6H-1.5Z",
};
const DASHES = {dot: "2 3", dash: "6 3", dashdot: "7 3 2 3", longdash: "10 4", solid: ""};

const liveFigures = looks => {
  const HEIGHT = 380, NARROW = 560;
  const plotOf = name => document.getElementById(`live-${name}`);
  const most = looks.colours.length * looks.dashes.length;
  const style = rank => ({
    colour: looks.colours[rank % looks.colours.length],
    symbol: looks.symbols[rank % looks.symbols.length],
    dash: looks.dashes[Math.floor(rank / looks.colours.length) % looks.dashes.length],
  });

  // Legends: made anew only when their words change.
  const told = new Map();
  const legend = (name, entries) => {
    const key = JSON.stringify(entries);
    if (told.get(name) === key) return;
    told.set(name, key);
    const svg = (tag, attributes) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
      return made;
    };
    document.getElementById(`live-${name}-legend`).replaceChildren(...entries.map(({text, colour, symbol, open, dash}) => {
      const picture = svg("svg", {viewBox: dash === undefined ? "-7 -7 14 14" : "-14 -7 28 14", width: dash === undefined ? 14 : 28, height: 14, "aria-hidden": "true"});
      if (dash !== undefined) picture.append(svg("path", {d: "M-14 0H14", stroke: colour, "stroke-width": 2, "stroke-dasharray": DASHES[dash], fill: "none"}));
      if (symbol) picture.append(svg("path", {d: SHAPES[symbol] ?? SHAPES.circle, fill: open ? "none" : colour, stroke: colour, "stroke-width": open ? 1.6 : 0}));
      const item = document.createElement("li");
      item.append(picture, text);
      return item;
    }));
  };

  const axis = (title, more) => ({
    title: {text: escaped(title), standoff: 10}, exponentformat: "power", showline: true, zeroline: false, ticks: "outside",
    ticklabeloverflow: "allow", gridcolor: token("--grid"), linecolor: token("--muted"), tickcolor: token("--muted"), ...more,
  });
  const layout = (x, y, bottom) => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", height: HEIGHT, showlegend: false,
    font: {family: "system-ui, sans-serif", size: 13, color: token("--ink")},
    margin: {l: y.type === "log" ? 82 : 64, r: 12, t: 12, b: bottom},
    modebar: {orientation: "v", bgcolor: "rgba(0,0,0,0)", color: token("--muted"), activecolor: token("--ink")},
    hovermode: "closest", hoverlabel: {namelength: -1}, dragmode: touch.matches ? false : "zoom",
    xaxis: x, yaxis: y,
  });
  const show = (name, data, where) => {
    if (!data.some(trace => trace.y.some(Number.isFinite))) {
      const words = "nothing to draw: no value at this choice";
      where.annotations = [{text: words, x: 0.5, y: 0.5, xref: "paper", yref: "paper", showarrow: false}];
    }
    Plotly.react(plotOf(name), data, where, config);
  };
  const scale = words => words.log ? {type: "log"} : {type: "linear"};
  const positive = (values, log) => values.map(value => Number.isFinite(value) && (value > 0 || !log) ? value : null);

  // What is out of sight is drawn when it comes into sight, or is to be printed.
  const seen = new Map();
  const drawLate = plot => {
    const late = seen.get(plot)?.late;
    seen.set(plot, {...seen.get(plot), late: null});
    if (late) late();
  };
  const watch = new IntersectionObserver(entries => {
    for (const {isIntersecting, target} of entries) {
      seen.set(target, {...seen.get(target), visible: isIntersecting});
      if (isIntersecting) drawLate(target);
    }
  }, {rootMargin: "300px 0px"});
  for (const name of ["layers", "curves", "training"]) if (plotOf(name)) watch.observe(plotOf(name));
  addEventListener("beforeprint", () => [...seen.keys()].forEach(drawLate));
  const whenSeen = (name, late) => {
    const plot = plotOf(name);
    seen.set(plot, {visible: false, ...seen.get(plot), late});
    if (seen.get(plot).visible) drawLate(plot);
  };

  // Layer by layer: the runs' median and range, the null behind it, the start as a diamond.
  const layers = (cells, groups, ticks, words) => {
    const place = cell => cell.place + (groups.indexOf(cell.group) - (groups.length - 1) / 2) * 0.72 / groups.length;
    const floor = value => words.log ? Math.max(value, words.least) : value;  // a bar that ends at zero is drawn on a logarithmic axis
    const grey = token("--muted"), legends = [];
    const trace = (some, values, more) => ({
      type: "scatter", mode: "markers", x: some.map(place), y: positive(values, words.log), customdata: some.map(cell => escaped(shortened(cell.name, 60))), ...more,
    });
    const ends = (values, low, high) => ({
      type: "data", symmetric: false, width: 0,
      array: values.map((value, k) => high[k] - value), arrayminus: values.map((value, k) => value - floor(low[k])),
    });
    const withNull = cells.filter(cell => cell.null), means = withNull.map(cell => cell.null.mean);
    const started = cells.filter(cell => Number.isFinite(cell.start)), values = cells.map(cell => cell.value);
    const looksOf = cells.map(cell => ({...style(cell.group), open: cell.tautology}));
    const data = [
      trace(withNull, means, {
        marker: {symbol: "line-ew", size: 9, color: grey, line: {width: 2, color: grey}}, hovertemplate: "%{customdata}, null: %{y:.4~g}<extra></extra>",
        error_y: {...ends(means, withNull.map(cell => cell.null.low), withNull.map(cell => cell.null.high)), color: faded("#808080", 0.45), thickness: 7},
      }),
      trace(started, started.map(cell => cell.start), {
        marker: {symbol: "diamond-open", size: 9, color: grey, line: {width: 1.5}}, hovertemplate: `%{customdata}, ${escaped(words.startName)}: %{y:.4~g}<extra></extra>`,
      }),
      trace(cells, values, {
        marker: {
          symbol: looksOf.map(({symbol, open}) => open ? `${symbol}-open` : symbol), color: looksOf.map(({colour}) => colour), size: 10,
          line: {width: looksOf.map(({open}) => open ? 2 : 0), color: looksOf.map(({colour}) => colour)},
        },
        error_y: {...ends(values, cells.map(cell => cell.low), cells.map(cell => cell.high)), color: grey, thickness: 1.2, width: 4},
        hovertemplate: "%{customdata}: %{y:.6~g}<extra></extra>",
      }),
    ];
    for (const group of groups) legends.push({text: words.groupNames[group], colour: style(group).colour, symbol: style(group).symbol});
    if (cells.some(cell => cell.tautology)) legends.push({text: "open: tautology, no evidence", colour: "currentColor", symbol: "circle", open: true});
    if (withNull.length) legends.push({text: words.nullName, colour: faded("#808080", 0.6), symbol: "bar"});
    if (started.length) legends.push({text: words.startName, colour: "currentColor", symbol: "diamond", open: true});
    legend("layers", legends);
    const room = (plotOf("layers").clientWidth - 80) / 7.5, longestOf = texts => Math.max(1, ...texts.map(text => text.length));
    const fits = texts => longestOf(texts) * texts.length <= room, numbered = ticks.every(text => text.includes(" · "));
    const texts = ticks.map(text => shortened(numbered && !fits(ticks) ? text.split(" · ")[0] : text, 22));
    const tilted = !fits(texts);
    const x = axis("layer", {
      tickmode: "array", tickvals: ticks.map((_, k) => k), ticktext: texts.map(escaped), tickangle: tilted ? -50 : 0,
      range: [-0.6, ticks.length - 0.4], showgrid: false, fixedrange: true,
    });
    show("layers", data, layout(x, axis(words.score, scale(words)), tilted ? 56 + 5.6 * longestOf(texts) : 52));
  };

  // Lines with the range over runs as a band; the null, where there are few lines, dotted in the same colour.
  const lines = (name, curves, x, words) => {
    const data = [], legends = [], opacity = curves.length > 3 ? 0.07 : 0.16;
    for (const curve of curves) {
      const {colour, symbol, dash} = style(curve.rank), y = positive(curve.y, words.log);
      const low = positive(curve.low, words.log), high = positive(curve.high, words.log);
      const drawn = curve.x.map((_, k) => k).filter(k => low[k] !== null && high[k] !== null);
      if (curve.wide) {
        data.push({
          type: "scatter", mode: "lines", hoverinfo: "skip", fill: "toself", fillcolor: faded(colour, opacity), line: {width: 0},
          x: [...drawn, ...drawn.toReversed()].map(k => curve.x[k]),
          y: [...drawn.map(k => high[k]), ...drawn.toReversed().map(k => low[k])],
        });
      }
      const hover = escaped(shortened(curve.name, 60)).replace(/%/g, "&#37;");
      if (curve.null) {
        data.push({
          type: "scatter", mode: "lines", x: curve.x, y: positive(curve.null, words.log), line: {color: colour, width: 1.5, dash: "dot"},
          hovertemplate: `${hover}, null: %{y:.4~g}<extra></extra>`,
        });
      }
      data.push({
        type: "scatter", mode: "lines+markers", x: curve.x, y, connectgaps: false,
        line: {color: colour, width: 2, dash}, marker: {color: colour, size: 7, symbol, maxdisplayed: 14}, hovertemplate: `${hover} at %{x:.4~g}: %{y:.4~g}<extra></extra>`,
      });
      legends.push({text: curve.name, colour, dash, symbol});
    }
    if (curves.some(curve => curve.null)) legends.push({text: "null, in the same colour", colour: "currentColor", dash: "dot"});
    legend(name, legends);
    show(name, data, {...layout(x, axis(words.score, scale(words)), 52), shapes: words.shapes ?? []});
  };
  const shapes = exponents => exponents.map(exponent => ({
    type: "line", x0: exponent, x1: exponent, y0: 0, y1: 1, yref: "paper", line: {color: token("--ink"), width: 1.5, dash: "dash"},
  }));
  const exponentAxis = () => axis("exponent α of the AGOP", {
    type: "log", range: [Math.log10(0.045), Math.log10(4.4)], tickmode: "array",
    tickvals: [0.05, 0.1, 0.2, 1 / 3, 0.5, 1, 2, 4], ticktext: ["0.05", "0.1", "0.2", "1/3", "1/2", "1", "2", "4"],
  });
  const timeAxis = (title, times) => {  // a start at zero stands at the left end of the logarithmic axis
    const first = Math.min(...times.filter(time => time > 0)), last = Math.max(...times);
    const zero = times.some(time => time === 0) ? first / 3 : null;
    const values = zero === null ? [] : [zero], texts = zero === null ? [] : ["0"];
    const decades = Math.log10(last / first), every = Math.max(1, Math.ceil(decades / (plotOf("training").clientWidth < NARROW ? 4 : 7)));
    for (let k = Math.ceil(Math.log10(first) - 1e-9); k <= Math.log10(last) + 1e-9; k += every) {
      values.push(10 ** k);
      texts.push(k >= -2 && k <= 4 ? `${Number((10 ** k).toPrecision(3))}` : `10<sup>${k}</sup>`);
    }
    const enough = values.length > 2 || decades > 1;
    return {zero, axis: axis(title, {type: "log", ...(enough ? {tickmode: "array", tickvals: values, ticktext: texts} : {})})};
  };
  return {
    most, layers, timeAxis, whenSeen,
    curves: (curves, exponents, words) => lines("curves", curves, exponentAxis(), {...words, shapes: shapes(exponents)}),
    mark: exponents => Plotly.relayout(plotOf("curves"), {shapes: shapes(exponents)}),
    training: (curves, x, words) => lines("training", curves, x, words),
  };
};
