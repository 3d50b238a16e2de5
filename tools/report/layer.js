// The layer in the reader's hands: looks up the piece of the solution map that holds, and draws what it says.
// Nothing is solved here. A piece is (z, λ) as a linear function of (q, h), computed by the layer when the page was made.
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("pieces").textContent);
  const {Q, G, pieces, kinks, start, limits} = data;
  const PIXELS = 100, REACH = 2.6, NEAR = 0.03;
  const svg = document.querySelector("#hands svg");
  const layerOf = name => svg.querySelector(`.${name}`);
  const panel = id => document.getElementById(id);
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const apply = (matrix, x) => matrix.map(row => dot(row, x));
  const show = value => (Math.abs(value) < 0.005 ? 0 : value).toFixed(2).replace("-", "−");
  const at = ([x, y]) => `${((x + REACH) * PIXELS).toFixed(1)} ${((REACH - y) * PIXELS).toFixed(1)}`;
  let state;

  // z, λ and slack on one piece, and how far its worst condition is from being violated.
  function on(piece, q, h) {
    const theta = [...q, ...h], z = apply(piece.z, theta), lam = apply(piece.lam, theta);
    const slack = h.map((bound, i) => bound - dot(G[i], z));
    const margins = h.map((_, i) => piece.rows.includes(i) ? lam[i] : slack[i]);
    return {piece, z, lam, slack, margins, worst: Math.min(...margins)};
  }
  const answer = (q, h) => pieces.map(piece => on(piece, q, h)).reduce((a, b) => a.worst >= b.worst ? a : b);
  const linear = cost => apply(Q, cost).map(value => -value);
  // The derivative in the cost's own minimiser c, where q = −Qc.
  const inCost = z => z.map(row => Q[0].map((_, j) => -(row[0] * Q[0][j] + row[1] * Q[1][j])));

  // Where a piece holds in the plane of c: the window, cut by every condition, each of them a half plane.
  function region(piece) {
    const whole = [[-REACH, -REACH], [REACH, -REACH], [REACH, REACH], [-REACH, REACH]];
    const value = (i, c) => on(piece, linear(c), state.h).margins[i];
    return G.reduce((corners, _, i) => cut(corners, c => value(i, c)), whole);
  }
  function cut(corners, inside) {
    return corners.flatMap((corner, k) => {
      const next = corners[(k + 1) % corners.length], a = inside(corner), b = inside(next);
      const crossing = corner.map((x, j) => x + (next[j] - x) * a / (a - b));
      return [...(a >= 0 ? [corner] : []), ...((a >= 0) !== (b >= 0) ? [crossing] : [])];
    });
  }
  const outline = corners => corners.length ? `M${corners.map(at).join("L")}Z` : "";

  function arrow(from, by, head = 0.07) {
    const length = Math.hypot(...by);
    if (length < 1e-3) return "";
    const tip = [from[0] + by[0], from[1] + by[1]], size = Math.min(head, length * 0.6);
    const wing = side => [0, 1].map(j => tip[j] - size * (by[j] + side * 0.55 * by[1 - j] * (j ? 1 : -1)) / length);
    return `M${at(from)}L${at(tip)}M${at(wing(1))}L${at(tip)}L${at(wing(-1))}`;
  }
  const put = (name, markup) => { layerOf(name).innerHTML = markup; };

  function drawRegions() {
    put("regions", pieces.map(piece => `<path class="rows-${piece.rows.length}" d="${outline(region(piece))}"/>`).join(""));
    put("feasible", `<path d="${outline(region(pieces[0]))}"/>`);
  }
  // Minus the gradient of the loss in c, at every place that c could be dragged to.
  function drawField() {
    let arrows = "", stops = "";
    for (let x = -REACH + 0.2; x < REACH; x += 0.275) for (let y = -REACH + 0.2; y < REACH; y += 0.275) {
      const here = answer(linear([x, y]), state.h), slope = gradient(here, inCost(here.piece.z));
      const size = Math.hypot(...slope);
      if (size < 1e-9) stops += `<circle cx="${at([x, y]).replace(" ", '" cy="')}" r="1.6"/>`;
      else arrows += arrow([x, y], slope.map(value => -0.24 * value / (size + 0.8)), 0.05);
    }
    put("field", `<path d="${arrows}"/>${stops}`);
  }
  const gradient = (here, map) => [0, 1].map(j => dot(map.map(row => row[j]), here.z.map((x, i) => x - state.target[i])));

  function drawContours(here) {
    const root = [Math.sqrt(Q[0][0]), Q[0][1] / Math.sqrt(Q[0][0])], last = Math.sqrt(Q[1][1] - root[1] ** 2);
    const away = here.z.map((x, i) => x - state.cost[i]), radius = Math.sqrt(dot(away, apply(Q, away)));
    const ring = r => Array.from({length: 72}, (_, k) => {
      const v = r * Math.sin(k * Math.PI / 36) / last, u = (r * Math.cos(k * Math.PI / 36) - root[1] * v) / root[0];
      return [state.cost[0] + u, state.cost[1] + v];
    });
    const levels = radius > 0.02 ? [0.5, 1, 1.5].map(k => k * radius) : [0.3, 0.6];
    put("contours", levels.map(r => `<path${r === radius ? ' class="touching"' : ""} d="${outline(ring(r))}"/>`).join(""));
  }
  function drawRows(here) {
    put("rows", G.map((row, i) => {
      const norm = dot(row, row), foot = row.map(g => g * state.h[i] / norm);
      const end = side => [foot[0] - side * 6 * row[1], foot[1] + side * 6 * row[0]];
      return `<path class="${here.piece.rows.includes(i) ? "active" : ""}" d="M${at(end(1))}L${at(end(-1))}"/>`;
    }).join(""));
    const pull = apply(Q, state.cost.map((c, i) => c - here.z[i]));
    const forces = here.piece.rows.map(i => `<path class="held" d="${arrow(here.z, G[i].map(g => -0.7 * here.lam[i] * g), 0.1)}"/>`);
    put("forces", `<path class="pull" d="${arrow(here.z, pull.map(x => 0.7 * x), 0.1)}"/>${forces.join("")}`);
  }
  function place(name, where, said) {
    const handle = svg.querySelector(`[data-handle="${name}"]`);
    handle.setAttribute("transform", `translate(${at(where)})`);
    handle.setAttribute("aria-valuetext", said);
  }
  function drawHandles(here) {
    place("cost", state.cost, `cost at ${state.cost.map(show).join(", ")}`);
    place("target", state.target, `target at ${state.target.map(show).join(", ")}`);
    G.forEach((row, i) => place(`row${i}`, row.map(g => g * state.h[i] / dot(row, row)), `h ${i + 1} is ${show(state.h[i])}`));
    layerOf("optimum").setAttribute("transform", `translate(${at(here.z)})`);
  }

  const matrix = rows => `<math><mtable class="bmatrix">${rows.map(row => `<mtr>${row.map(value =>
    `<mtd><mn>${show(value)}</mn></mtd>`).join("")}</mtr>`).join("")}</mtable></math>`;
  const NAMES = ["No row is active", "One row is active", "Two rows are active"];
  const MEANINGS = ["the optimum is the cost's own, and follows it", "the optimum slides along it",
    "the optimum is a corner, and does not follow the cost at all"];

  function tell(here) {
    const count = here.piece.rows.length, rows = here.piece.rows.map(i => i + 1).join(" and ");
    panel("said").textContent = `${NAMES[count]}${rows && ` (${rows})`}: ${MEANINGS[count]}.`;
    const value = dot(here.z, apply(Q, here.z)) / 2 + dot(linear(state.cost), here.z);
    panel("optimum").textContent = `(${here.z.map(show).join(", ")}), value ${show(value)}`;
    const toward = here.z.map((x, i) => x - state.target[i]);
    panel("multipliers").innerHTML = G.map((_, i) => {
      const inBound = dot(here.piece.z.map(row => row[2 + i]), toward), weak = here.margins[i] < NEAR;
      return `<tr class="${here.piece.rows.includes(i) ? "active" : ""}"><th>${i + 1}</th><td>${show(here.slack[i])}</td>
        <td>${show(here.lam[i])}</td><td>${show(inBound)}</td>
        <td>${weak ? "weakly active" : here.piece.rows.includes(i) ? "active" : "free"}</td></tr>`;
    }).join("");
    panel("derivative").innerHTML = matrix(inCost(here.piece.z));
    tellKink(here);
  }
  // Next to a border of two pieces: both derivatives, and the one that the layer returns on the border itself.
  function tellKink(here) {
    const weak = here.margins.findIndex(value => value < NEAR), box = panel("kink");
    const less = here.piece.rows.filter(i => i !== weak);
    const border = kinks.find(kink => kink.row === weak && String(kink.rows) === String(less));
    box.classList.toggle("on", Boolean(border));
    if (!border) {
      box.innerHTML = "<p>Drag the cost onto a border of two colours: there the derivative jumps.</p>";
      return;
    }
    const side = rows => matrix(inCost(pieces.find(piece => String(piece.rows) === String(rows)).z));
    const more = [...less, weak].sort();
    box.innerHTML = `<p><strong>A kink.</strong> Slack and λ of row ${weak + 1} are both zero here, or nearly: it touches, and holds
      nothing up. The derivative is one matrix without the row, another with it; on the border itself the layer returns the least-squares answer.</p>
      <div class="jump"><span>without ${side(less)}</span><span>with ${side(more)}</span>
      <span>the layer ${matrix(inCost(border.z))}</span></div>`;
  }

  function draw(changed = "all") {
    const here = answer(linear(state.cost), state.h);
    if (changed !== "cost" && changed !== "target") drawRegions();
    if (changed !== "cost") drawField();
    drawContours(here);
    drawRows(here);
    drawHandles(here);
    tell(here);
  }
  const clamp = (value, lo, hi) => Math.min(Math.max(value, lo), hi);
  function move(name, where) {
    const reach = limits.cost;
    if (name === "cost" || name === "target") state[name] = where.map(x => clamp(x, -reach, reach));
    else state.h[Number(name.slice(3))] = clamp(dot(G[Number(name.slice(3))], where), ...limits.h);
    draw(name);
  }
  function reset(cost = start.cost) {
    state = {cost: [...cost], h: [...start.h], target: [...start.target]};
    draw();
  }

  svg.addEventListener("pointerdown", event => {
    const handle = event.target.closest("[data-handle]");
    if (!handle) return;
    const name = handle.dataset.handle, box = svg.getBoundingClientRect(), unit = 2 * REACH / box.width;
    const follow = e => move(name, [(e.clientX - box.left) * unit - REACH, REACH - (e.clientY - box.top) * unit]);
    handle.setPointerCapture(event.pointerId);
    handle.addEventListener("pointermove", follow);
    handle.addEventListener("lostpointercapture", () => handle.removeEventListener("pointermove", follow), {once: true});
  });
  // A finger on a handle moves the handle and not the page; touch-action does not reach into a picture.
  svg.addEventListener("touchstart", event => {
    if (event.target.closest("[data-handle]")) event.preventDefault();
  }, {passive: false});
  svg.addEventListener("keydown", event => {
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[event.key];
    const handle = event.target.closest("[data-handle]");
    if (!step || !handle) return;
    event.preventDefault();
    const name = handle.dataset.handle, row = Number(name.slice(3));
    const where = state[name] || G[row].map(g => g * state.h[row] / dot(G[row], G[row]));
    move(name, where.map((x, i) => x + 0.05 * step[i]));
  });
  const PLACES = {
    free: () => [-0.2, 0.15],
    row: () => start.cost,
    vertex: () => [0.75, 2.05],
    kink: () => G[0].map(g => g * start.h[0] / dot(G[0], G[0])),
  };
  document.querySelectorAll("#hands [data-place]").forEach(button =>
    button.addEventListener("click", () => reset(PLACES[button.dataset.place]())));
  reset();
  window.layerInHands = {answer: (q, h) => { const {z, lam} = answer(q, h); return {z, lam}; }, move, reset};
})();
