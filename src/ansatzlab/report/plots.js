"use strict";
// The figures that are in the page as Plotly's JSON, drawn as they come near, and what the live ones share with them.
const plots = Array.from(document.querySelectorAll(".plot"));
const touch = matchMedia("(pointer: coarse)");
const dark = matchMedia("(prefers-color-scheme: dark)");
let tokens = new Map();  // asked for at every redrawing, and the same until the colour scheme changes
const token = name => {
  if (!tokens.has(name)) tokens.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return tokens.get(name);
};
const colours = () => {
  const changes = {"font.color": token("--ink"), "modebar.color": token("--muted"), "modebar.activecolor": token("--ink")};
  for (const axis of ["xaxis", "yaxis"]) {
    Object.assign(changes, {[`${axis}.gridcolor`]: token("--grid"), [`${axis}.linecolor`]: token("--muted"), [`${axis}.tickcolor`]: token("--muted")});
  }
  return changes;
};
const config = {
  displaylogo: false, typesetMath: false, displayModeBar: touch.matches ? false : "hover",
  modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]],
  showSendToCloud: false, plotlyServerURL: "",  // Plotly's defaults offer to upload the data
};
const fit = (plot, data, layout) => {  // the legend above the lines has about three entries a row, on a phone one
  if (layout.meta) { plot.style.height = `${layout.meta.height}px`; return; }
  const entries = data.filter(trace => trace.showlegend !== false).length;
  plot.style.height = `${400 + 21 * (plot.clientWidth < 640 ? entries : Math.ceil(entries / 3))}px`;
};
const waiting = new Map(plots.map(plot => [plot, JSON.parse(document.getElementById(plot.dataset.source).textContent)]));
const draw = async plot => {
  if (!waiting.has(plot)) return;
  const {data, layout} = waiting.get(plot);
  waiting.delete(plot);
  layout.dragmode = touch.matches ? false : "zoom";  // on a touch screen a finger on the plot scrolls the page
  await Plotly.newPlot(plot, data, layout, config);
  await Plotly.relayout(plot, colours());
  new ResizeObserver(() => { fit(plot, data, layout); Plotly.Plots.resize(plot); }).observe(plot);
};
waiting.forEach(({data, layout}, plot) => fit(plot, data, layout));  // their places are kept, so that nothing moves
const near = new IntersectionObserver(entries => {
  for (const {isIntersecting, target} of entries) {
    if (isIntersecting) { near.unobserve(target); draw(target); }
  }
}, {rootMargin: "800px 0px"});
plots.forEach(plot => near.observe(plot));
addEventListener("beforeprint", () => plots.forEach(draw));
dark.addEventListener("change", () => { tokens = new Map(); });
dark.addEventListener("change", () => plots.filter(plot => !waiting.has(plot)).forEach(plot => Plotly.relayout(plot, colours())));
