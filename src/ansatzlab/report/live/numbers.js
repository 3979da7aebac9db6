"use strict";
// Scores and nulls at any exponent, from the spectra in the page. The formulas are those of ansatzlab.linalg.
const readLive = data => {
  const array = (text, Kind) => {
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let k = 0; k < raw.length; k++) bytes[k] = raw.charCodeAt(k);
    return new Kind(bytes.buffer);
  };
  const integers = text => array(text, Int32Array), doubles = text => array(text, Float64Array);
  const single = data.precision === "single";
  const floats = name => array(data.spectra[name], single ? Float32Array : Float64Array);
  const epsilon = single ? 2 ** -23 : 2 ** -52;
  const ranks = integers(data.spectra.ranks), offsets = before(ranks);
  const [dimensions, rests, traces, totals, energies, squares] =
    ["dimensions", "rests", "traces", "totals", "energies", "squares"].map(floats);
  const logs = Float64Array.from(floats("ratios"), Math.log);
  const powers = new Float64Array(ranks.reduce((a, b) => Math.max(a, b), 0));
  const norms = Float64Array.from(rests, (rest, place) => {  // ‖M‖²: 1 but for rounding, or 0
    let sum = rest * rest;
    for (let j = offsets[place]; j < offsets[place] + ranks[place]; j++) sum += energies[j] * energies[j];
    return sum;
  });
  let inner, model, trace, square;  // ⟨M, Gᵅ⟩, ‖Gᵅ‖², tr Gᵅ and 1ᵀGᵅ1 of the spectrum that was raised last

  const raise = (place, exponent) => {
    inner = model = trace = square = 0;
    const from = offsets[place], rank = ranks[place];
    for (let j = 0; j < rank; j++) {
      const power = Math.exp(exponent * logs[from + j]);
      powers[j] = power;
      inner += power * energies[from + j];
      model += power * power;
      trace += power;
      square += power * squares[from + j];
    }
  };
  const ratio = (a, b, c) => b > 0 && c > 0 ? a / Math.sqrt(b * c) : NaN;
  const raised = {
    cosine: place => ratio(inner, model, norms[place]),
    pearson: place => {
      const mean = square / dimensions[place], total = totals[place] / dimensions[place];
      return ratio(inner - mean * total, model - mean * mean, norms[place] - total * total);
    },
    traceless: place => {
      const d = dimensions[place];
      return ratio(inner - trace * traces[place] / d, model - trace * trace / d, norms[place] - traces[place] ** 2 / d);
    },
    residual: place => {
      if (!norms[place]) return NaN;
      const from = offsets[place], scale = ranks[place] ? inner / model : 0;
      let sum = rests[place] ** 2;
      for (let j = 0; j < ranks[place]; j++) sum += (energies[from + j] - scale * powers[j]) ** 2;
      return Math.sqrt(sum / norms[place]);
    },
  };
  const score = (place, exponent, kind) => {
    if (Number.isNaN(exponent)) return NaN;
    raise(place, exponent);
    return raised[kind](place);
  };

  // The cosine with Q Gᵅ Qᵀ, Q a random rotation of the input: mean and standard deviation, or a mean with an interval.
  const anisotropy = (share, d) => { const rest = 1 - share * share; return rest > d * epsilon ? Math.sqrt(rest) : 0; };
  const rotated = (place, exponent, kind) => {
    const d = dimensions[place];
    if (kind === "pearson" || Number.isNaN(exponent) || !ranks[place] || !norms[place]) return null;
    raise(place, exponent);
    const target = traces[place] / Math.sqrt(d * norms[place]), share = trace / Math.sqrt(d * model);
    const turning = anisotropy(target, d) * anisotropy(share, d), mean = target * share;
    const unit = d > 1 ? Math.sqrt(2 / ((d - 1) * (d + 2))) : 0, sd = turning * unit;
    if (kind === "traceless") return turning && unit ? spread(0, unit) : null;
    if (kind === "cosine") return spread(mean, sd);
    const residual = cosine => Math.sqrt(Math.max(0, 1 - Math.min(1, Math.abs(cosine)) ** 2));
    const [low, high] = [mean - 2 * sd, mean + 2 * sd];
    const nearest = low > 0 ? low : high < 0 ? high : 0;
    return {
      mean: Math.sqrt(Math.max(0, 1 - mean * mean - sd * sd)), sd: NaN,
      low: residual(Math.max(Math.abs(low), Math.abs(high))), high: residual(nearest),
    };
  };

  // Series: layers of networks, each with its spectrum, perhaps a start, draws of the structural null, moments.
  const places = integers(data.places);
  const [starts, draws, moments] = [data.starts, data.draws, data.moments].map(integers);
  const begin = before(Int32Array.from(starts, (n, i) => 1 + n + draws[i] + moments[i]));
  const firstMoment = before(moments);
  const drawn = (series, exponent, kind) => {
    if (data.null_curves) return between(series, exponent, kind);
    const count = draws[series], from = begin[series] + 1 + starts[series];
    if (count < 2 || Number.isNaN(exponent)) return null;
    const values = new Float64Array(count);
    for (let k = 0; k < count; k++) values[k] = score(places[from + k], exponent, kind);
    const mean = values.reduce((a, b) => a + b, 0) / count;
    return spread(mean, Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / (count - 1)));
  };
  const tables = data.null_curves && Object.fromEntries(Object.entries(data.null_curves.tables).map(([k, v]) => [k, doubles(v)]));
  const between = (series, exponent, kind) => {  // on the grid exactly, elsewhere linear in the logarithm of the exponent
    const {grid} = data.null_curves, table = tables[kind], size = grid.length;
    let right = grid.findIndex(each => each >= exponent);
    if (right < 0) right = size - 1;
    const left = grid[right] === exponent || right === 0 ? right : right - 1;
    const weight = left === right ? 0 : Math.log(exponent / grid[left]) / Math.log(grid[right] / grid[left]);
    const at = k => (1 - weight) * table[2 * (series * size + left) + k] + weight * table[2 * (series * size + right) + k];
    return Number.isNaN(at(0)) ? null : spread(at(0), at(1));
  };
  return {
    count: data.count,
    runs: integers(data.runs),
    own: doubles(data.own),
    tautological: integers(data.tautological),
    labels: data.labels.map(label => ({...label, codes: array(label.codes, Uint16Array)})),
    steps: doubles(data.steps),
    flowTimes: doubles(data.flow_times),
    moments,
    firstMoment,
    rank: series => ranks[places[begin[series]]],
    score: (series, exponent, kind) => score(places[begin[series]], exponent, kind),
    start: (series, exponent, kind) => starts[series] ? score(places[begin[series] + 1], exponent, kind) : NaN,
    moment: (series, k, exponent, kind) =>
      score(places[begin[series] + 1 + starts[series] + draws[series] + k], exponent, kind),
    nullOf: (series, exponent, kind) =>
      data.null === "structural" ? drawn(series, exponent, kind) : rotated(places[begin[series]], exponent, kind),
  };
};
const before = counts => {  // the sums of all counts before each
  const sums = new Int32Array(counts.length);
  for (let k = 1; k < counts.length; k++) sums[k] = sums[k - 1] + counts[k - 1];
  return sums;
};
const spread = (mean, sd) => ({mean, sd, low: mean - 2 * sd, high: mean + 2 * sd});
const medianOf = values => {  // of finite values; NaN of none
  const sorted = Float64Array.from(values).sort(), middle = sorted.length >> 1;
  if (!sorted.length) return NaN;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
