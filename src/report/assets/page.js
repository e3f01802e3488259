"use strict";
// Draws the figures of the page, joins their time axes, and runs the table of events. All data stand in this page; nothing is fetched.
(() => {
  const read = (id) => {
    const element = document.getElementById(id);
    return element ? JSON.parse(element.textContent) : null;
  };
  const decode = ({ dtype, bdata }) => {
    const text = atob(bdata);
    const bytes = new Uint8Array(text.length);
    for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
    return dtype === "f8" ? new Float64Array(bytes.buffer) : new Int32Array(bytes.buffer);
  };
  // Plotly reads a few tags in its texts; ours are to be shown as they are.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (x) => (Number.isFinite(x) ? String(Number(x.toPrecision(5))) : "–");
  const COLOURS = {
    main: "#2f7fc1", second: "#d9731a", third: "#169c78", fourth: "#b765a3", fifth: "#5fb0e5", sixth: "#b39b00",
    alert: "#d33a4a", muted: "#8a8f94",
  };
  // Shapes tell apart what colours do, for those who do not see these, and in grey print.
  const SYMBOLS = { main: "circle", second: "triangle-up", third: "square", fourth: "diamond", fifth: "cross", sixth: "star", alert: "x", muted: "circle-open" };
  const settings = read("settings");
  const figures = read("figures").map((figure) => ({
    ...figure,
    series: figure.series.map((s) => ({ ...s, x: decode(s.x), y: decode(s.y) })),
  }));
  let isLog = settings.log_time;

  const place = (id) => document.getElementById(`figure-${id}`);
  const isDrawn = (s) => !s.only_on || s.only_on === (isLog ? "log" : "linear");
  const trace = (figure) => (s) => {
    const colour = COLOURS[s.colour];
    const base = { type: "scatter", name: plain(s.name), x: s.x, y: s.y, showlegend: !s.unnamed, visible: !figure.x.is_time || isDrawn(s), connectgaps: false };
    const marker = { color: colour, symbol: SYMBOLS[s.colour], size: 4.5, opacity: 0.85 };
    const line = { color: colour, width: 1.7 };
    switch (s.mark) {
      case "dots": return { ...base, mode: "markers", marker };
      case "crosses": return { ...base, mode: "markers", marker: { ...marker, symbol: "x-thin", size: 7, line: { color: colour, width: 1.3 } } };
      case "points": return { ...base, mode: "markers", marker: { ...marker, size: 10, opacity: 1 } };
      case "dashed": return { ...base, mode: "lines", line: { ...line, dash: "dash" } };
      case "dotted": return { ...base, mode: "lines", line: { ...line, dash: "dot", width: 1.1 } };
      case "bars": return { ...base, mode: "lines", line: { ...line, width: 3 } };
      default: return { ...base, mode: "lines", line };
    }
  };
  // Decades of the values on a logarithmic axis: with many, only powers of ten are labelled.
  const decades = (figure) => {
    const values = figure.series.flatMap((s) => [...s.y].filter((v) => v > 0));
    const [low, high] = values.reduce(([l, h], v) => [Math.min(l, v), Math.max(h, v)], [Infinity, 0]);
    return Math.log10(high / low);
  };
  const spacing = (figure) => {
    const n = figure.y.is_log ? decades(figure) : 0;
    return n >= 1.5 ? Math.ceil(n / 7) : null;
  };
  const axis = (a, type) => ({
    title: { text: plain(a.label), standoff: 8 }, type, zeroline: false, automargin: true, exponentformat: "power", showline: true, linecolor: "#8a8f94",
    nticks: type === "log" ? 8 : undefined, hoverformat: ".6g",
  });
  const layout = (figure) => ({
    margin: { l: 56, r: 12, t: 30, b: 44 }, modebar: { bgcolor: "rgba(0,0,0,0)", color: "#8a8f94", activecolor: "#2f7fc1" }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { size: 12 },
    hovermode: "closest", hoverlabel: { namelength: 40, bgcolor: "#39424b", bordercolor: "#39424b" }, dragmode: "zoom",
    showlegend: figure.series.length > 1 && figure.series.length <= 14, legend: { orientation: "h", x: 0, y: -0.2, yanchor: "top", font: { size: 11 } },
    xaxis: axis(figure.x, (figure.x.is_time ? isLog : figure.x.is_log) ? "log" : "linear"),
    yaxis: { ...axis(figure.y, figure.y.is_log ? "log" : "linear"), dtick: spacing(figure) ?? undefined },
  });
  const config = { displaylogo: false, responsive: true, showSendToCloud: false, plotlyServerURL: "", modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  const timed = figures.filter((figure) => figure.x.is_time);

  // One time axis for all.
  let isJoining = false;
  const join = (from) => (change) => {
    if (isJoining) return;
    const range = change["xaxis.range[0]"] !== undefined ? [change["xaxis.range[0]"], change["xaxis.range[1]"]] : null;
    if (!range && !change["xaxis.autorange"]) return;
    isJoining = true;
    const update = range ? { "xaxis.range": range } : { "xaxis.autorange": true };
    Promise.all(timed.filter((f) => f !== from).map((f) => Plotly.relayout(place(f.id), update))).finally(() => { isJoining = false; });
  };
  const rescale = (log) => {
    isLog = log;
    document.getElementById("time-log").setAttribute("aria-pressed", String(log));
    document.getElementById("time-linear").setAttribute("aria-pressed", String(!log));
    isJoining = true;
    const changes = timed.map((figure) => Plotly.update(place(figure.id), { visible: figure.series.map(isDrawn) }, { "xaxis.type": log ? "log" : "linear", "xaxis.autorange": true }));
    Promise.all(changes).finally(() => { isJoining = false; });
  };

  // One cursor for all.
  const WATCHED = [["loss", "loss"], ["residual", "‖r‖"], ["lambda", "λ_min"], ["sliding", "sliding"]];
  const valueAt = (s, t) => {
    let [low, high] = [0, s.x.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (s.x[middle] <= t) low = middle + 1; else high = middle;
    }
    let k = low - 1;
    while (k >= 0 && Number.isNaN(s.y[k])) k--;
    return k < 0 ? NaN : s.y[k];
  };
  const point = (t) => {
    for (const figure of timed) {
      const plot = place(figure.id);
      const { xaxis, yaxis } = plot._fullLayout;
      const line = plot.querySelector(".time-cursor");
      const at = t === null ? NaN : xaxis._offset + xaxis.d2p(t);
      const isInside = at >= xaxis._offset && at <= xaxis._offset + xaxis._length;
      line.style.display = isInside ? "block" : "none";
      if (isInside) Object.assign(line.style, { left: `${at}px`, top: `${yaxis._offset}px`, height: `${yaxis._length}px` });
    }
    if (t === null) return;
    const values = WATCHED.flatMap(([id, name]) => {
      const first = timed.find((figure) => figure.id === id)?.series[0];
      return first ? [`${name} ${short(valueAt(first, t))}`] : [];
    });
    document.getElementById("cursor").textContent = [`t ${short(t)}`, ...values].join("  ·  ");
  };
  const watch = (plot) => {
    const line = document.createElement("div");
    line.className = "time-cursor";
    plot.appendChild(line);
    const move = (event) => {
      const { xaxis } = plot._fullLayout;
      const at = event.clientX - plot.getBoundingClientRect().left - xaxis._offset;
      if (at >= 0 && at <= xaxis._length) point(xaxis.p2d(at));
    };
    plot.addEventListener("mousemove", move);
    plot.addEventListener("touchmove", (event) => move(event.touches[0]), { passive: true });
    plot.addEventListener("mouseleave", () => point(null));
  };

  const pause = () => new Promise((resolve) => { setTimeout(resolve, 0); });
  const drawAll = async () => {
    for (const figure of figures) {
      const plot = place(figure.id);
      await Plotly.newPlot(plot, figure.series.map(trace(figure)), layout(figure), config);
      const dtick = spacing(figure);
      // Zoomed in, powers of ten would be too few.
      if (dtick) plot.on("plotly_relayout", (change) => {
        if (change["yaxis.range[0]"] !== undefined) Plotly.relayout(plot, { "yaxis.dtick": null });
        else if (change["yaxis.autorange"]) Plotly.relayout(plot, { "yaxis.dtick": dtick });
      });
      if (figure.x.is_time) {
        plot.on("plotly_relayout", join(figure));
        watch(plot);
      }
      await pause();
    }
    place("raster")?.on("plotly_click", (click) => events?.chooseAt(click.points[0].x, click.points[0].y));
    await drawFunction();
    document.body.dataset.ready = "yes";
  };

  // The network function and its slider.
  const frames = read("frames");
  const frameTraces = (k) => {
    const names = ["main", "second", "third", "fourth"];
    const all = frames.outputs[k].map((y, m) => ({ type: "scatter", mode: "lines", name: frames.y.length > 1 ? `output ${m}` : "network", x: frames.inputs, y, line: { color: COLOURS[names[m]], width: 2 } }));
    const height = (x) => {
      const i = Math.min(Math.max(frames.inputs.findIndex((v) => v >= x), 1), frames.inputs.length - 1);
      const [x0, x1, y] = [frames.inputs[i - 1], frames.inputs[i], frames.outputs[k][0]];
      return y[i - 1] + ((x - x0) / (x1 - x0)) * (y[i] - y[i - 1]);
    };
    all.push({ type: "scatter", mode: "markers", name: "kinks", x: frames.kinks[k], y: frames.kinks[k].map(height), marker: { symbol: "diamond", size: 10, color: COLOURS.alert } });
    frames.y.forEach((y, m) => all.push({ type: "scatter", mode: "markers", name: frames.y.length > 1 ? `data ${m}` : "data", x: frames.x, y, marker: { symbol: "circle-open", size: 11, color: COLOURS[names[m]], line: { width: 2 } } }));
    return all;
  };
  const drawFunction = async () => {
    if (!frames) return;
    const low = Math.min(...frames.outputs.flat(2), ...frames.y.flat());
    const high = Math.max(...frames.outputs.flat(2), ...frames.y.flat());
    const room = 0.05 * (high - low || 1);
    const shape = layout({ series: [{ y: [] }, { y: [] }], x: { label: "input x" }, y: { label: "f(x)" } });
    shape.yaxis.range = [low - room, high + room];
    await Plotly.newPlot(place("function"), frameTraces(0), shape, config);
    const slider = document.getElementById("frame");
    const show = () => {
      const k = Number(slider.value);
      document.getElementById("frame-time").textContent = `t = ${short(frames.times[k])}`;
      Plotly.react(place("function"), frameTraces(k), shape, config);
      point(frames.times[k]);
    };
    slider.max = String(frames.times.length - 1);
    slider.addEventListener("input", show);
    document.getElementById("frame-time").textContent = `t = ${short(frames.times[0])}`;
  };

  // The table of events.
  const PER_PAGE = 50;
  const table = () => {
    const data = read("events-data");
    const form = document.getElementById("event-filter");
    if (!data || !form) return null;
    const columns = Object.fromEntries(Object.entries(data.columns).map(([name, column]) => [name, decode(column)]));
    const names = data.names;
    const words = { kind: data.kinds, direction: ["up", "down"] };
    const show = (name, k) => (words[name] ? words[name][columns[name][k]] : columns[name] instanceof Float64Array ? short(columns[name][k]) : String(columns[name][k]));
    const exact = (name, k) => (words[name] ? words[name][columns[name][k]] : Number.isNaN(columns[name][k]) ? "" : String(columns[name][k]));
    let [shown, first, sorted, isDown, chosen] = [new Uint32Array(0), 0, "t", false, -1];
    const filter = () => {
      const wanted = Object.fromEntries(["kind", "layer", "unit", "sample", "from", "to"].map((n) => [n, form.elements[n].value === "" ? null : Number(form.elements[n].value)]));
      const kept = [];
      for (let k = 0; k < data.n; k++) {
        if ((wanted.kind === null || columns.kind[k] === wanted.kind) && (wanted.layer === null || columns.layer[k] === wanted.layer)
          && (wanted.unit === null || columns.unit[k] === wanted.unit) && (wanted.sample === null || columns.sample[k] === wanted.sample)
          && (wanted.from === null || columns.t[k] >= wanted.from) && (wanted.to === null || columns.t[k] <= wanted.to)) kept.push(k);
      }
      const column = columns[sorted];
      const sign = isDown ? -1 : 1;
      // Cells without a number come last; equal ones stay in the order of time.
      const number = (k) => (Number.isNaN(column[k]) ? sign * Infinity : column[k]);
      kept.sort((a, b) => { const [x, y] = [number(a), number(b)]; return x === y ? a - b : sign * (x - y); });
      shown = kept;
      first = 0;
      draw();
    };
    const cell = (row, text, value) => {
      const td = row.insertCell();
      td.textContent = text;
      td.dataset.value = value;
      td.title = value;
    };
    const draw = () => {
      const body = document.querySelector("#events tbody");
      body.textContent = "";
      for (const k of shown.slice(first, first + PER_PAGE)) {
        const row = body.insertRow();
        row.dataset.event = k;
        row.tabIndex = 0;
        row.classList.toggle("chosen", k === chosen);
        for (const name of names) cell(row, show(name, k), exact(name, k));
      }
      const total = data.n < data.total ? `${data.n} of ${data.total} events are in this page, evenly thinned; events.csv has them all` : `of ${data.total} events`;
      document.getElementById("event-count").textContent = `${shown.length} ${total}`;
      document.getElementById("page-range").textContent = shown.length ? `${first + 1} to ${Math.min(first + PER_PAGE, shown.length)}` : "none";
      document.getElementById("page-back").disabled = first === 0;
      document.getElementById("page-on").disabled = first + PER_PAGE >= shown.length;
      document.querySelectorAll("#events th").forEach((th) => th.setAttribute("aria-sort", th.dataset.column === sorted ? (isDown ? "descending" : "ascending") : "none"));
    };
    const sameSurface = (a, b) => ["layer", "unit", "sample", "breakpoint"].every((n) => columns[n][a] === columns[n][b]);
    const choose = (k) => {
      chosen = k;
      document.querySelectorAll("#events tbody tr").forEach((row) => row.classList.toggle("chosen", Number(row.dataset.event) === k));
      const details = document.getElementById("event-details");
      details.textContent = "";
      const title = document.createElement("h3");
      title.textContent = `${words.kind[columns.kind[k]].replace("_", " ")} ${words.direction[columns.direction[k]]} at t = ${columns.t[k]}: layer ${columns.layer[k]}, unit ${columns.unit[k]}, sample ${columns.sample[k]}, breakpoint ${columns.breakpoint[k]}`;
      details.appendChild(title);
      const list = document.createElement("table");
      const line = (name, value, more) => {
        const row = list.insertRow();
        const head = document.createElement("th");
        head.textContent = name;
        row.append(head);
        row.insertCell().textContent = value;
        row.insertCell().textContent = more ?? "";
      };
      line("rate of the pre-activation just before", String(columns.rate_before[k]), "0 while it slides");
      line("rate just after", String(columns.rate_after[k]), "one-sided: with the slope of the side it goes to");
      const slope = data.slopes[columns.breakpoint[k]];
      const known = (s) => (s === null ? "learned" : String(s));
      if (slope) line("slopes of the activation below and above", `${known(slope[1])}, ${known(slope[2])}`, `at the breakpoint ${slope[0]}`);
      const [before, after] = [columns.lambda_min_before[k], columns.lambda_min_after[k]];
      line("λ_min before and after", `${exact("lambda_min_before", k) || "–"}, ${exact("lambda_min_after", k) || "–"}`, Number.isFinite(after - before) ? `change ${short(after - before)}` : "G does not jump, or was not followed");
      line("loss, units sliding after", `${columns.loss[k]}, ${columns.sliding[k]}`);
      details.appendChild(list);
      const neighbours = document.createElement("p");
      const link = (name, j) => {
        if (j < 0 || j >= data.n) return;
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = `${name}: ${words.kind[columns.kind[j]].replace("_", " ")} at t = ${short(columns.t[j])} (layer ${columns.layer[j]}, unit ${columns.unit[j]}, sample ${columns.sample[j]})`;
        button.addEventListener("click", () => choose(j));
        neighbours.append(button, " ");
      };
      link("event before", k - 1);
      link("event after", k + 1);
      let [back, on] = [k - 1, k + 1];
      while (back >= 0 && !sameSurface(back, k)) back--;
      while (on < data.n && !sameSurface(on, k)) on++;
      link("before on this surface", back);
      link("after on this surface", on);
      details.appendChild(neighbours);
      if (columns.t[k] > 0 || !isLog) point(columns.t[k]);
    };
    let rows = null;
    const chooseAt = (t, row) => {
      const key = (k) => ["layer", "unit", "sample", "breakpoint"].map((n) => columns[n][k]);
      if (!rows) {
        const found = new Map();
        for (let k = 0; k < data.n; k++) found.set(key(k).join(), key(k));
        const order = [...found.values()].sort((a, b) => a.reduce((sign, v, i) => sign || v - b[i], 0));
        rows = new Map(order.map((surface, k) => [surface.join(), k]));
      }
      let nearest = -1;
      for (let k = 0; k < data.n; k++) if (columns.t[k] === t && (nearest < 0 || rows.get(key(k).join()) === row)) nearest = k;
      if (nearest >= 0) choose(nearest);
    };
    const head = document.querySelector("#events thead tr");
    for (const name of names) {
      const th = document.createElement("th");
      const button = document.createElement("button");
      th.dataset.column = name;
      button.type = "button";
      button.textContent = name.replaceAll("_", " ");
      button.addEventListener("click", () => { [sorted, isDown] = [name, sorted === name ? !isDown : false]; filter(); });
      th.append(button);
      head.append(th);
    }
    const option = (select, value, text) => select.append(new Option(text, value));
    data.kinds.forEach((kind, k) => option(form.elements.kind, k, kind.replace("_", " ")));
    [...new Set(columns.layer)].sort((a, b) => a - b).forEach((layer) => option(form.elements.layer, layer, layer));
    form.addEventListener("input", filter);
    form.addEventListener("reset", () => setTimeout(filter, 0));
    form.addEventListener("submit", (event) => event.preventDefault());
    document.getElementById("page-back").addEventListener("click", () => { first = Math.max(0, first - PER_PAGE); draw(); });
    document.getElementById("page-on").addEventListener("click", () => { first += PER_PAGE; draw(); });
    const body = document.querySelector("#events tbody");
    const chosenRow = (event) => { const row = event.target.closest("tr"); if (row) choose(Number(row.dataset.event)); };
    body.addEventListener("click", chosenRow);
    body.addEventListener("keydown", (event) => { if (event.key === "Enter") chosenRow(event); });
    filter();
    return { choose, chooseAt };
  };
  const events = table();

  document.getElementById("time-linear").addEventListener("click", () => rescale(false));
  document.getElementById("time-log").addEventListener("click", () => rescale(true));
  document.getElementById("time-all").addEventListener("click", () => rescale(isLog));
  // Paper is narrower than screens, and the drawings do not shrink by themselves.
  const everyPlot = () => [...document.querySelectorAll(".plot")].filter((plot) => plot._fullLayout);
  window.addEventListener("beforeprint", () => everyPlot().forEach((plot) => Plotly.relayout(plot, { width: 335, height: plot.data.length > 4 ? 275 : 225, "font.size": 9, "legend.font.size": 7 })));
  window.addEventListener("afterprint", () => everyPlot().forEach((plot) => Plotly.relayout(plot, { width: null, height: null, autosize: true, "font.size": 12, "legend.font.size": 11 })));
  drawAll();
})();
