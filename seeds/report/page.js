"use strict";
(() => {
  const { lines, rows, metrics, far } = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const phone = matchMedia("(max-width: 640px)");

  // Elements: attributes, then children; text is always text.
  const fill = (node, attributes, children) => {
    for (const [name, value] of Object.entries(attributes)) if (value !== undefined) node.setAttribute(name, value);
    node.append(...children.filter((child) => child !== undefined));
    return node;
  };
  const html = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
  const svg = (name, attributes = {}, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
  const mark = (line) => svg("svg", { class: `mark c${line.colour}`, viewBox: "-1.6 -1.6 3.2 3.2", "aria-hidden": "true" }, svg("use", { href: `#m${line.marker}` }));

  // Copying, also where there is no clipboard to write to.
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = html("textarea", { class: "hidden" });
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }
  function withCopy(code) {
    const button = html("button", { type: "button", class: "copy", "aria-label": `Copy: ${code.textContent}` }, "Copy");
    button.addEventListener("click", async (event) => {
      event.stopPropagation();
      await copy(code.textContent);
      button.textContent = get("said").textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; get("said").textContent = ""; }, 1500);
    });
    code.after(button);
  }

  // The ticks of a log axis: 1, 2, 5 of each decade; fewer where those are too many, more where they are too few.
  function ticks(low, high, most) {
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
    const inside = (heads, stride) => {
      const found = [];
      for (let decade = first; decade <= last; decade++)
        if (decade % stride === 0) found.push(...heads.map((head) => Number(`${head}e${decade}`)).filter((tick) => low <= tick && tick <= high));
      return found;
    };
    const plain = inside([1, 2, 5], 1);
    if (plain.length > most)
      return [[[1, 3], 1], [[1], 1], [[1], 2], [[1], 3], [[1], 6]].map(([heads, stride]) => inside(heads, stride)).find((found) => found.length <= most) ?? [];
    if (plain.length >= 4) return plain;
    const finer = [[1, 2, 3, 5, 7], [1, 1.5, 2, 3, 4, 5, 7], [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9]].map((heads) => inside(heads, 1)).find((found) => found.length >= 4);
    if (finer) return finer;
    const power = 10 ** Math.floor(Math.log10((high - low) / 4));
    const step = power * [10, 5, 2, 1].find((times) => (high - low) / (power * times) >= 3);
    const even = [];
    for (let at = Math.ceil(low / step); at * step <= high; at++) even.push(Number((at * step).toPrecision(12)));
    return even;
  }
  const short = (text, most) => (text.length <= most ? text : `${text.slice(0, Math.max(1, most - 1))}\u2026`);
  const label = (tick) => (tick >= 1e9 || tick < 1e-6 ? tick.toExponential() : tick.toLocaleString("en", { maximumSignificantDigits: 12 }));

  // The chart: drawn anew for each width, metric and set of lines.
  const chart = get("chart"), detail = get("detail"), legend = get("legend");
  const gone = new Set();
  const cut = get("cut"), whole = cut.querySelector("input");
  let metric = metrics[0], places = [], now = null, kept = false, groups = new Map();

  // What is more than `far` times worse than the best is drawn hollow at the edge, unless the whole range is asked for.
  function span(values) {
    const low = Math.min(...values), high = Math.max(...values);
    if (whole.checked) return [low, high];
    return metric.falls ? [low, Math.min(high, far * low)] : [Math.max(low, high / far), high];
  }
  function scale(values, room, times) {
    let low = Math.min(...values), high = Math.max(...values);
    const by = high > low ? (high / low) ** room : times;
    low /= by;
    high *= by;
    return { low, high, of: (value, from, to) => from + ((to - from) * Math.log(value / low)) / Math.log(high / low) };
  }

  // Where the values of points at the edges are written: beside their points, further in where other words or points are.
  function written(points, px, above, right) {
    const taken = points.map((point) => ({ side: above(point), row: 0, from: px(point.nfe) - 8, to: px(point.nfe) + 8 })), found = new Map();
    for (const point of [...points].sort((a, b) => a.nfe - b.nfe || b.value - a.value)) {
      const side = above(point), width = 8 * point.text.length, x = px(point.nfe), end = x + 10 + width > right;
      const from = end ? x - 10 - width : x + 10, to = from + width;
      let row = 0;
      while (taken.some((other) => other.side === side && other.row === row && other.from < to && from < other.to)) row++;
      taken.push({ side, row, from, to });
      found.set(point, { x: end ? x - 10 : x + 10, down: side ? 5 + 17 * row : 3 - 17 * row, anchor: end ? "end" : "start" });
    }
    return found;
  }

  function draw() {
    const had = chart.contains(document.activeElement) && document.activeElement.classList.contains("point");
    const width = chart.clientWidth, height = Math.round(Math.max(330, Math.min(500, width * 0.62)));
    const points = metric.points.filter((point) => !gone.has(point.line));
    const shown = points.length ? points : metric.points;
    const whiskers = (point) => (point.low === null ? [] : [point.low, point.high].filter((end) => end > 0));
    const x = scale(shown.map((point) => point.nfe), 0.04, 1.4);
    const values = [...shown, ...metric.baselines].map((held) => held.value), drawn = span(values);
    const ends = shown.flatMap(whiskers).filter((end) => whole.checked || (end > drawn[0] / 2 && end < drawn[1] * 2));
    const y = scale([...drawn, ...ends], 0.08, 1.25);
    const beyond = (value) => value < y.low || value > y.high;
    cut.hidden = Math.max(...values) <= far * Math.min(...values);
    const down = ticks(y.low, y.high, 9);
    const left = 14 + 7.4 * Math.max(...down.map((tick) => label(tick).length), 2), right = width - 10, top = 34, bottom = height - 46;
    const px = (nfe) => x.of(nfe, left, right), py = (value) => y.of(value, bottom, top);
    const edge = (value) => Math.max(top, Math.min(bottom, py(value)));
    const beside = written(points.filter((point) => beyond(point.value)), px, (point) => point.value > y.high, width);

    const frame = svg("g", { "aria-hidden": "true" });
    for (const tick of ticks(x.low, x.high, width < 500 ? 6 : 10))
      frame.append(svg("line", { class: "grid", x1: px(tick), x2: px(tick), y1: top, y2: bottom }), svg("text", { x: px(tick), y: bottom + 20, "text-anchor": "middle" }, label(tick)));
    for (const tick of down)
      frame.append(svg("line", { class: "grid", x1: left, x2: right, y1: py(tick), y2: py(tick) }), svg("text", { x: left - 8, y: py(tick) + 4, "text-anchor": "end" }, label(tick)));
    frame.append(
      svg("text", { class: "title", x: 0, y: 14 }, metric.title, svg("tspan", { "font-weight": 400 }, `, ${metric.better}`)),
      svg("text", { class: "title", x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, "model calls (NFE)"),
    );

    groups = new Map();
    places = [];
    const curves = svg("g", {}, svg("clipPath", { id: "inside" }, svg("rect", { x: left - 8, y: top, width: right - left + 16, height: bottom - top })));
    lines.forEach((line, number) => {
      const own = points.filter((point) => point.line === number);
      if (!own.length) return;
      const group = svg("g", { class: `line c${line.colour}` });
      group.append(svg("path", { class: `d${line.dash}`, "clip-path": "url(#inside)", d: own.map((point, i) => `${i ? "L" : "M"}${px(point.nfe)} ${py(point.value)}`).join("") }));
      for (const point of own) {
        const at = [px(point.nfe), edge(point.value)], off = beyond(point.value);
        if (off) {
          const { x, down, anchor } = beside.get(point);
          group.append(svg("text", { class: "off", x, y: at[1] + down, "text-anchor": anchor, "aria-hidden": "true" }, point.text));
        } else if (point.low !== null) {
          const lower = point.low > 0 ? edge(point.low) : bottom, upper = edge(point.high);
          group.append(svg("path", { class: "whisker", d: `M${at[0] - 4} ${upper}h8m-4 0V${lower}${point.low > 0 ? "m-4 0h8" : ""}` }));
        }
        const said = `${line.name}, NFE ${point.nfe}: ${metric.title} ${point.text} ${point.interval}`;
        const dot = svg("g", { class: off ? "point off" : "point", role: "button", tabindex: -1, "aria-label": said, transform: `translate(${at})` },
          svg("circle", { class: "ring", r: 9.5 }), svg("use", { href: `#m${line.marker}`, transform: "scale(5)" }));
        dot.dataset.rows = point.rows.join(" ");
        const place = { point, at, dot, group };
        dot.addEventListener("focus", () => show(place));
        places.push(place);
        group.append(dot);
      }
      groups.set(number, group);
      curves.append(group);
    });
    const named = svg("g", { "aria-hidden": "true" });
    metric.baselines.forEach((base, i) => named.append(
      svg("line", { class: "base", x1: left, x2: right, y1: py(base.value), y2: py(base.value) }),
      svg("text", { class: "named", x: i % 2 ? right - 4 : left + 6, y: py(base.value) + (metric.falls ? 16 : -7), "text-anchor": i % 2 ? "end" : "start" }, `${short(base.name, (right - left) / 8 - 12)}: ${base.text}`)));

    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "group", "aria-label": `${metric.title} against model calls. Arrow keys move between points.` }, frame, curves, named);
    picture.addEventListener("pointermove", (event) => event.pointerType === "mouse" && !kept && show(nearest(event, 44)));
    picture.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && !kept && show(null));
    picture.addEventListener("click", (event) => { const place = nearest(event, 48); kept = false; show(place); keep(place !== null); });
    picture.addEventListener("keydown", move);
    chart.querySelector(":scope > svg")?.remove();
    chart.prepend(picture);
    const same = now && places.find((place) => place.point === now.point);
    now = null;
    if (!same) kept = false;
    show(same ?? null);
    if (had) (same ?? places[0])?.dot.focus();
    else if (!same && places.length) places[0].dot.setAttribute("tabindex", 0);
  }

  function nearest(event, reach) {
    const box = chart.querySelector(":scope > svg").getBoundingClientRect();
    const far = ({ at }) => Math.hypot(at[0] - event.clientX + box.left, at[1] - event.clientY + box.top);
    return places.filter((place) => far(place) <= reach).sort((a, b) => far(a) - far(b))[0] ?? null;
  }

  function move(event) {
    if (!now) return;
    const own = places.filter((place) => place.point.line === now.point.line), at = own.indexOf(now);
    const order = [...groups.keys()], line = order.indexOf(now.point.line);
    const beside = (step) => {
      const other = order[(line + step + order.length) % order.length];
      const far = (place) => Math.abs(Math.log(place.point.nfe / now.point.nfe));
      return places.filter((place) => place.point.line === other).sort((a, b) => far(a) - far(b))[0];
    };
    const next = { ArrowRight: () => own[at + 1], ArrowLeft: () => own[at - 1], ArrowDown: () => beside(1), ArrowUp: () => beside(-1), Home: () => own[0], End: () => own[own.length - 1] };
    if (next[event.key]) {
      event.preventDefault();
      next[event.key]()?.dot.focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      keep(!kept);
    }
  }

  function keep(on) {
    kept = on;
    detail.classList.toggle("kept", on);
  }

  function show(place) {
    if (place === now) return;
    for (const row of document.querySelectorAll("#table tr.now")) row.classList.remove("now");
    now?.dot.classList.remove("now");
    for (const group of groups.values()) group.classList.toggle("dim", place !== null && group !== place.group);
    now = place;
    keep(false);
    detail.hidden = place === null;
    if (place === null) return;
    for (const other of places) other.dot.setAttribute("tabindex", other === place ? 0 : -1);
    place.dot.classList.add("now");
    if (!place.group.contains(document.activeElement)) place.group.parentNode.append(place.group); // moving what has the focus would lose it
    for (const row of place.point.rows) get(`row-${row}`)?.classList.add("now");
    describe(place.point);
    dock(place);
  }

  function describe(point) {
    const line = lines[point.line], held = point.rows.map((row) => ({ row, ...rows[row] }));
    const several = held.length > 1, terms = html("dl");
    const term = (name, value) => terms.append(html("div", { class: String(value).length + name.length > 16 ? "long" : "short" }, html("dt", {}, name), html("dd", {}, String(value))));
    const asked = [...new Set(held.map((row) => row.nfe_asked))].filter((nfe) => nfe !== null && nfe !== point.nfe);
    term("NFE", asked.length ? `${point.nfe} (asked for ${asked.join(", ")})` : point.nfe);
    term("Steps", held[0].steps ?? "\u2013");
    if (several) for (const row of held) term(`Row ${row.row}`, `${row.values[metric.key]}, seeds ${row.seeds}, ${row.seconds} s`);
    else {
      for (const other of metrics) if (other !== metric && held[0].values[other.key]) term(other.title, held[0].values[other.key]);
      term("Seeds", held[0].seeds);
    }
    term("Images", point.images);
    if (!several) term("Seconds", held[0].seconds);
    if (!several) term("Row", held[0].row);
    if (held[0].options) term("Options", held[0].options);
    if (point.method) term("Interval", point.method);
    const strip = held.map((row) => document.querySelector(`#images img[data-row="${row.row}"]`)).find((found) => found);
    detail.replaceChildren(
      html("h3", {}, mark(line), line.name),
      html("p", { class: "value" }, html("b", {}, point.text), " ", html("span", { class: "ci" }, point.interval)),
      ...(strip ? [html("img", { src: strip.src, alt: strip.alt, class: strip.className })] : []),
      terms,
      ...held.filter((row) => row.command).map((row) => html("div", { class: "again" }, html("code", { class: "copied" }, ...row.command.split(" ").flatMap((word) => [html("span", {}, word), " "]).slice(0, -1)))),
    );
    detail.querySelectorAll(".copied").forEach(withCopy);
  }

  function dock(place) {
    detail.classList.toggle("docked", phone.matches);
    if (phone.matches) return;
    const width = chart.clientWidth, [x, y] = place.at;
    detail.style.left = `${x < width / 2 ? Math.min(x + 22, width - 340) : Math.max(x - 22 - 340, 0)}px`;
    detail.style.top = `${Math.max(0, Math.min(y - detail.offsetHeight / 2, chart.clientHeight - detail.offsetHeight))}px`;
  }

  function drawLegend() {
    legend.replaceChildren(...lines.flatMap((line, number) => {
      if (!metric.points.some((point) => point.line === number)) return [];
      const button = html("button", { type: "button", "aria-pressed": String(!gone.has(number)) },
        svg("svg", { class: `line c${line.colour}`, viewBox: "-17 -7 34 14", "aria-hidden": "true" },
          svg("path", { class: `d${line.dash}`, d: "M-17 0H17" }), svg("g", { class: "point" }, svg("use", { href: `#m${line.marker}`, transform: "scale(5)" }))),
        html("span", {}, line.name));
      button.addEventListener("click", () => {
        if (!gone.delete(number)) gone.add(number);
        button.setAttribute("aria-pressed", String(!gone.has(number)));
        all.hidden = gone.size === 0;
        draw();
      });
      for (const [name, on] of [["pointerenter", true], ["pointerleave", false]])
        button.addEventListener(name, () => groups.forEach((group, other) => group.classList.toggle("dim", on && groups.has(number) && other !== number)));
      return [html("li", {}, button)];
    }));
    const button = html("button", { type: "button", class: "all" }, "Show all"), all = html("li", {}, button);
    all.hidden = gone.size === 0;
    button.addEventListener("click", () => { gone.clear(); drawLegend(); draw(); legend.querySelector("button").focus(); });
    legend.append(all);
  }

  if (metrics.length) {
    chart.hidden = legend.hidden = false;
    document.querySelector(".keys").hidden = false;
    const choice = get("metric");
    choice.hidden = metrics.length < 2;
    for (const one of metrics) {
      const input = html("input", { type: "radio", name: "metric", value: one.key });
      input.checked = one === metric;
      input.addEventListener("change", () => { metric = one; now = null; drawLegend(); draw(); });
      choice.lastElementChild.append(html("label", {}, input, html("span", {}, one.title)));
    }
    whole.addEventListener("change", draw);
    drawLegend();
    let width = 0;
    new ResizeObserver(() => { if (chart.clientWidth !== width) { width = chart.clientWidth; draw(); } }).observe(chart);
    document.addEventListener("keydown", (event) => event.key === "Escape" && show(null));
    document.addEventListener("click", (event) => !chart.contains(event.target) && kept && show(null));
    chart.addEventListener("focusout", (event) => !kept && !chart.contains(event.relatedTarget) && show(null));
  }

  // Images: one NFE, or all of them.
  const nfe = get("nfe");
  if (nfe) {
    const choose = () => {
      const value = nfe.querySelector("input:checked").value;
      for (const group of document.querySelectorAll(".group")) group.hidden = value !== "" && group.dataset.nfe !== value;
    };
    nfe.hidden = false;
    nfe.addEventListener("change", choose);
    choose();
  }

  // The table: a click on a header sorts, a second one turns the order; what has no value stays last.
  const body = get("table").tBodies[0];
  [...get("table").tHead.rows[0].cells].forEach((head, column) => {
    const button = html("button", { type: "button" }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const value = (row) => row.cells[column].dataset.v;
      const compare = head.dataset.kind === "number" ? (a, b) => Number(a) - Number(b) : (a, b) => a.localeCompare(b, "en", { numeric: true });
      const sorted = [...body.rows].sort((a, b) => (value(a) === "") - (value(b) === "") || turn * compare(value(a), value(b)));
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
      body.append(...sorted);
    });
  });
  document.querySelectorAll("main code.copied").forEach(withCopy);
})();
