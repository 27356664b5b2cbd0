// The explorer's program. Points are numbered 0..n-1 (HQ images) and n..2n-1 (their LQ versions).
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const views = data.views;
  const people = data.people;
  const n = people.person.length;
  const byId = (id) => document.getElementById(id);
  const every = (selector) => [...document.querySelectorAll(selector)];
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const WIDTH = 48; // of a large thumbnail, CSS px
  const SLIDE = 400; // of the move from one setting to the next, ms
  const FEW = 6;

  for (const view of views) {
    view.positions = new Uint16Array(bytes(view.positions));
    view.nearest = new Uint16Array(bytes(view.nearest));
    view.cosines = new Int8Array(bytes(view.cosines));
    view.now = new Float64Array(4 * n); // x, y of every point, as drawn
  }
  const codes = { person: distinct(people.person), camera: distinct(people.camera) };
  const state = {
    setting: 0, colour: "quality", lines: false, chosen: null, moving: false,
    person: new Set(codes.person), camera: new Set(codes.camera), quality: { hq: true, lq: true },
  };
  let models = null;

  function bytes(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  }
  function distinct(values) {
    return [...new Set(values)].sort((a, b) => a - b);
  }
  const image = (point) => point % n;
  const isLq = (point) => point >= n;
  const percent = (share) => (share === null ? "–" : `${Math.round(100 * share)} %`);

  // -- what is known of a point

  function place(view, setting, point) {
    const at = 2 * (2 * n * setting + point);
    return [view.positions[at] / data.steps, view.positions[at + 1] / data.steps];
  }
  function nearest(view, point, setting = state.setting) {
    const at = data.neighbours * (2 * n * setting + point);
    return Array.from({ length: data.neighbours }, (_, k) => ({
      point: view.nearest[at + k],
      cosine: view.cosines[at + k] / data.cosineSteps,
    }));
  }
  function samePerson(a, b) {
    return people.person[image(a)] === people.person[image(b)];
  }
  function verdict(view, point) {
    const first = nearest(view, point)[0].point;
    return samePerson(first, point) ? "right" : isLq(first) ? "wrong" : "other";
  }
  function words(point) {
    const i = image(point);
    const outfit = people.outfit[i] ? `, outfit ${people.outfit[i]}` : "";
    return `person ${people.person[i]}${outfit}, camera ${people.camera[i]}`;
  }
  function fullWords(point) {
    return `${isLq(point) ? "LQ" : "HQ"} image of ${words(point)}`;
  }
  function lqWords() {
    const { kind, name } = data.settings[state.setting];
    return kind === "mixed LQ" ? kind : name;
  }
  const sentence = (text) => text[0].toUpperCase() + text.slice(1);
  function isShown(point) {
    const i = image(point);
    return (isLq(point) ? state.quality.lq : state.quality.hq)
      && state.person.has(people.person[i]) && state.camera.has(people.camera[i]);
  }

  // -- thumbnails: a canvas that shows its part of the sheet of a setting

  const sheets = new Map();
  function sheet(setting) {
    if (!sheets.has(setting)) {
      const picture = new Image();
      const loaded = new Promise((done) => { picture.onload = () => done(picture); });
      picture.src = data.sheets[setting];
      sheets.set(setting, loaded);
    }
    return sheets.get(setting);
  }
  function thumbnail(point, scale = 1) {
    const [width, height] = data.cell;
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    canvas.style.width = `${Math.round(WIDTH * scale)}px`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", fullWords(point));
    const pen = canvas.getContext("2d");
    if (!data.photos) {
      pen.fillStyle = hue("person", people.person[image(point)], isLq(point) ? 0.45 : 1);
      pen.fillRect(0, 0, width, height);
      pen.fillStyle = "#fff";
      pen.font = "bold 13px system-ui, sans-serif";
      pen.textAlign = "center";
      pen.fillText(people.person[image(point)], width / 2, height / 2, width - 4);
      canvas.dataset.drawn = "number";
      return canvas;
    }
    const i = image(point);
    const x = (i % data.columns) * width;
    const y = Math.floor(i / data.columns) * height;
    sheet(isLq(point) ? state.setting : 0).then((picture) => {
      pen.drawImage(picture, x, y, width, height, 0, 0, width, height);
      canvas.dataset.drawn = "photo";
    });
    return canvas;
  }
  function element(name, className, ...content) {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...content);
    return made;
  }
  function framed(found, from, scale) {
    const right = samePerson(found.point, from);
    const quality = isLq(found.point) ? "LQ" : "HQ";
    const box = element("button", `near ${right ? "right" : "wrong"}`, thumbnail(found.point, scale));
    box.type = "button";
    box.append(element("small", "", `${right ? "✓" : "✗"} ${quality} ${found.cosine.toFixed(2)}`));
    const who = right ? "the same person" : "a stranger";
    box.setAttribute("aria-label",
      `${who}: ${fullWords(found.point)}, cosine ${found.cosine.toFixed(2)}; choose it`);
    box.title = `${words(found.point)} (${who})`;
    box.dataset.point = found.point;
    return box;
  }

  // -- colours

  function hue(kind, value, alpha = 1) {
    const at = codes[kind].indexOf(value);
    const turn = (at * 137.508 + 20) % 360; // golden angle: neighbours in number differ in hue
    return `hsla(${turn.toFixed(0)}, 62%, ${[42, 58, 34][at % 3]}%, ${alpha})`;
  }
  function colour(point) {
    const i = image(point);
    if (state.colour === "person") return hue("person", people.person[i]);
    if (state.colour === "camera") return hue("camera", people.camera[i]);
    return isLq(point) ? data.colours.lq : data.colours.hq;
  }
  function legend() {
    const dot = (shade, text, shape = "■") => {
      const mark = element("b", "", shape);
      mark.style.color = shade;
      return element("span", "", mark, ` ${text}`);
    };
    const shapes = element("span", "", "● HQ   ▲ LQ");
    const colours = data.colours;
    const entries = {
      quality: [dot(colours.hq, "HQ", "●"), dot(colours.lq, "LQ", "▲")],
      verdict: [shapes, dot(colours.right, "its nearest image is the right person"),
        dot(colours.wrong, "a stranger’s LQ image"), dot(colours.other, "a stranger’s HQ image")],
      person: [shapes, element("span", "", "one colour a person, as in the list of people")],
      camera: [shapes, ...codes.camera.slice(0, 12).map((c) => dot(hue("camera", c), `camera ${c}`))],
    }[state.colour];
    const rings = [dot("#111", "the chosen image", "◯"), dot("#777", "its other version", "◯"),
      dot(colours.right, "its nearest: the right person", "◯"), dot(colours.wrong, "a stranger", "◯")];
    byId("legend").replaceChildren(...entries, element("span", "rings", "around a mark: "), ...rings);
  }

  // -- drawing

  function paint() {
    const columns = {};
    views.forEach((view, v) => {
      columns[`colour${v}`] = Array.from({ length: 2 * n }, (_, p) =>
        state.colour === "verdict" ? data.colours[verdict(view, p)] : colour(p));
    });
    models.points.data = { ...models.points.data, ...columns };
  }
  function drawPoints() {
    const columns = {};
    views.forEach((view, v) => {
      columns[`x${v}`] = Array.from({ length: 2 * n }, (_, p) => view.now[2 * p]);
      columns[`y${v}`] = Array.from({ length: 2 * n }, (_, p) => view.now[2 * p + 1]);
    });
    models.points.data = { ...models.points.data, ...columns };
    views.forEach((_, v) => { drawLines(v); drawMarks(v); });
  }
  function drawLines(v) {
    const { now } = views[v];
    const columns = { x: [], y: [], u: [], v: [] };
    for (let i = 0; state.lines && i < n; i += 1) {
      if (isShown(i) && isShown(n + i)) {
        columns.x.push(now[2 * i]);
        columns.y.push(now[2 * i + 1]);
        columns.u.push(now[2 * (n + i)]);
        columns.v.push(now[2 * (n + i) + 1]);
      }
    }
    models.lines[v].data = columns;
  }
  function drawMarks(v) {
    const view = views[v];
    const columns = { x: [], y: [], size: [], line: [], width: [], marker: [] };
    const ring = (point, size, line, width) => {
      if (!isShown(point)) return;
      columns.x.push(view.now[2 * point]);
      columns.y.push(view.now[2 * point + 1]);
      columns.size.push(size);
      columns.line.push(line);
      columns.width.push(width);
      columns.marker.push("circle");
    };
    if (state.chosen !== null) {
      const other = (state.chosen + n) % (2 * n);
      for (const found of nearest(view, state.chosen)) {
        const right = samePerson(found.point, state.chosen);
        ring(found.point, 14, right ? data.colours.right : data.colours.wrong, 2);
      }
      ring(other, 16, "#777", 1.5);
      ring(state.chosen, 20, "#111", 3);
    }
    models.marks[v].data = columns;
  }
  function drawFilter() {
    models.shown.booleans = Array.from({ length: 2 * n }, (_, p) => isShown(p));
    views.forEach((_, v) => { drawLines(v); drawMarks(v); });
    byId("people-count").value = `${state.person.size} of ${codes.person.length}`;
    byId("camera-count").value = `${state.camera.size} of ${codes.camera.length}`;
  }

  // A window on a map, a square around all of its points: centre and half a side.
  function fitting(view, setting) {
    const low = [1, 1];
    const high = [0, 0];
    for (let p = 0; p < 2 * n; p += 1) {
      place(view, setting, p).forEach((value, axis) => {
        low[axis] = Math.min(low[axis], value);
        high[axis] = Math.max(high[axis], value);
      });
    }
    const half = Math.max(high[0] - low[0], high[1] - low[1]) / 2 || 0.5;
    return [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, half * (1 + 2 * data.margin)];
  }
  function frame(v) {
    const { x_range: across, y_range: up } = models.plots[v];
    return [(across.start + across.end) / 2, (up.start + up.end) / 2, (across.end - across.start) / 2];
  }
  function look(v, [x, y, half]) {
    const { x_range: across, y_range: up } = models.plots[v];
    across.setv({ start: x - half, end: x + half });
    up.setv({ start: y - half, end: y + half });
  }

  // Points slide from where they are to where the setting wants them, and the window with them.
  let slide = 0;
  function moveTo(setting, slowly) {
    const from = views.map((view) => view.now.slice());
    const to = views.map((view) => {
      const wanted = new Float64Array(4 * n);
      for (let p = 0; p < 2 * n; p += 1) wanted.set(place(view, setting, p), 2 * p);
      return wanted;
    });
    const windows = views.map((view, v) => [frame(v), fitting(view, setting)]);
    const began = performance.now();
    cancelAnimationFrame(slide);
    paint();
    state.moving = true;
    const step = (time) => {
      const t = slowly && !calm.matches ? Math.min(1, Math.max(0, time - began) / SLIDE) : 1;
      const eased = t * t * (3 - 2 * t);
      views.forEach((view, v) => {
        view.now.forEach((_, k) => { view.now[k] = from[v][k] + (to[v][k] - from[v][k]) * eased; });
      });
      drawPoints();
      windows.forEach(([was, fits], v) => {
        look(v, fits.map((wanted, k) => was[k] + (wanted - was[k]) * eased));
      });
      state.moving = t < 1;
      if (state.moving) slide = requestAnimationFrame(step);
    };
    step(began);
  }

  // -- controls

  function levels() {
    const kind = byId("kind").value;
    const own = data.settings.map((s, at) => ({ ...s, at })).filter((s) => s.kind === kind);
    return [0, ...own.map((s) => s.at)];
  }
  function readDials(slowly = true) {
    const stops = levels();
    const dial = byId("severity");
    dial.max = stops.length - 1;
    const level = Math.min(Number(dial.value), stops.length - 1);
    state.setting = stops[level];
    const { text } = data.settings[state.setting];
    byId("severity-words").value = text;
    dial.setAttribute("aria-valuetext", `${level} of ${stops.length - 1}: ${text}`);
    every("#figures tbody tr").forEach((line) => {
      if (line.dataset.setting === String(state.setting)) line.setAttribute("aria-current", "true");
      else line.removeAttribute("aria-current");
    });
    tell();
    detail();
    moveTo(state.setting, slowly);
  }
  // The figures of the setting in words, under each map.
  function tell() {
    const name = sentence(data.settings[state.setting].name);
    views.forEach((view, v) => {
      const f = view.figures[state.setting];
      byId(`big-${v}`).textContent = percent(f.lq_given_stranger);
      byId(`interval-${v}`).textContent = f.low === null
        ? "" : `${percent(f.low).replace(" %", "")}–${percent(f.high)}`;
      const trust = `Trustworthiness of the map ${f.trust.toFixed(2)}, `
        + `continuity ${f.continuity.toFixed(2)}.`;
      byId(`words-${v}`).textContent = state.setting === 0
        ? `${name}. HQ images alone: the nearest image shows the right person for ${percent(f.right)} `
          + `(chance ${percent(data.chance.right)}). ${trust}`
        : `${name}. The nearest image of an LQ image shows the right person for ${percent(f.right)} `
          + `(chance ${percent(data.chance.right)}), a stranger’s LQ image for `
          + `${percent(f.strangers_lq)}. Cosine of an image and its LQ version: `
          + `${f.same_image.toFixed(2)}. ${trust}`;
    });
  }
  function readFilters() {
    for (const kind of ["person", "camera"]) {
      state[kind] = new Set(every(`input[name=${kind}]:checked`).map((box) => Number(box.value)));
    }
    state.quality = { hq: byId("show-hq").checked, lq: byId("show-lq").checked };
    state.lines = byId("lines").checked;
    drawFilter();
  }
  function tick(kind, wanted) {
    every(`input[name=${kind}]`).forEach((box, at) => { box.checked = wanted(at); });
    readFilters();
  }

  // -- the chosen image

  function choose(point) {
    state.chosen = point;
    if (point !== null) {
      byId("image").value = image(point);
      every("input[name=quality]").forEach((radio) => {
        radio.checked = (radio.value === "lq") === isLq(point);
      });
    }
    detail();
    views.forEach((_, v) => { drawMarks(v); });
  }
  function detail() {
    const place = byId("detail");
    if (state.chosen === null) {
      place.replaceChildren(element("p", "about", "No image is chosen."));
      return;
    }
    const i = image(state.chosen);
    const pair = element("div", "pair");
    for (const point of [i, n + i]) {
      const box = element("figure", point === state.chosen ? "own" : "", thumbnail(point, 2),
        element("figcaption", "", isLq(point) ? lqWords() : "HQ"));
      pair.append(box);
    }
    const columns = views.map((view) => {
      const found = nearest(view, state.chosen);
      const right = found.filter((f) => samePerson(f.point, state.chosen)).length;
      const lq = found.filter((f) => isLq(f.point)).length;
      return element("div", "row", element("h3", "", view.title),
        element("div", "five", ...found.map((f) => framed(f, state.chosen, 1.15))),
        element("p", "about", `${right} of ${found.length} show the same person, ${lq} are LQ.`));
    });
    const title = element("p", "who", `${fullWords(state.chosen)}`);
    place.replaceChildren(pair, element("div", "rows", title, ...columns));
  }
  function fillChooser() {
    const options = people.person.map((_, i) => {
      const option = element("option", "", `${i + 1}: ${words(i)}`);
      option.value = i;
      return option;
    });
    byId("image").replaceChildren(...options);
  }
  // The first image that the first network puts beside a stranger's LQ image and the last mends.
  function telling() {
    const all = Array.from({ length: n }, (_, i) => n + i);
    const first = views[0];
    const last = views[views.length - 1];
    return all.find((p) => verdict(first, p) === "wrong" && verdict(last, p) === "right")
      ?? all.find((p) => verdict(first, p) === "wrong") ?? n;
  }
  function chooseBeside(step) {
    const now = state.chosen ?? -step;
    const own = image(now);
    const quality = isLq(now) ? n : 0;
    choose(quality + ((own + step + n) % n));
  }

  // -- pointer

  function picked(indices) {
    if (indices.length) choose(indices[0]);
    models.points.selected.indices = []; // the marks say what is chosen
  }
  function hovered(v, told) {
    const found = told.index.indices.filter(isShown);
    const tip = byId("card");
    if (!found.length) {
      tip.hidden = true;
      return;
    }
    const point = found[0];
    tip.hidden = false;
    if (tip.dataset.key !== `${v} ${point} ${state.setting}`) {
      tip.dataset.key = `${v} ${point} ${state.setting}`;
      tip.dataset.point = point;
      const pair = element("div", "pair", thumbnail(image(point), 1.5), thumbnail(n + image(point), 1.5));
      const about = element("p", "", element("b", "", isLq(point) ? "▲ LQ" : "● HQ"), ` ${words(point)}`);
      const near = element("div", "five", ...nearest(views[v], point).map((f) => framed(f, point, 0.72)));
      tip.replaceChildren(about, pair, element("p", "about", `nearest for ${views[v].title}:`), near);
    }
    const box = document.querySelector(`[data-view="${v}"] .map`).getBoundingClientRect();
    const { width, height } = tip.getBoundingClientRect();
    const x = box.left + told.geometry.sx + 24;
    const y = box.top + told.geometry.sy + 40;
    tip.style.left = `${x + width > innerWidth ? Math.max(4, x - width - 48) : x}px`;
    tip.style.top = `${Math.max(4, Math.min(y, innerHeight - height - 8))}px`;
  }
  const hideTip = () => { byId("card").hidden = true; };

  // -- keyboard on a map

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  function nextIn(view, [dx, dy]) {
    const visible = Array.from({ length: 2 * n }, (_, p) => p).filter(isShown);
    if (state.chosen === null || !isShown(state.chosen)) return visible[0] ?? null;
    const x = view.now[2 * state.chosen];
    const y = view.now[2 * state.chosen + 1];
    let best = state.chosen;
    let least = Infinity;
    for (const p of visible) {
      const along = (view.now[2 * p] - x) * dx + (view.now[2 * p + 1] - y) * dy;
      const across = Math.abs((view.now[2 * p] - x) * dy) + Math.abs((view.now[2 * p + 1] - y) * dx);
      if (p !== state.chosen && along > 0 && along + 2 * across < least) {
        least = along + 2 * across;
        best = p;
      }
    }
    return best;
  }
  const ZOOM = { in: 0.7, out: 1 / 0.7, all: null };
  // Zooms around the chosen point; without a factor, shows the whole map.
  function zoom(v, factor) {
    const view = views[v];
    if (factor === null) {
      look(v, fitting(view, state.setting));
      return;
    }
    const [x, y, half] = frame(v);
    const at = state.chosen;
    const centre = at === null ? [x, y] : [view.now[2 * at], view.now[2 * at + 1]];
    look(v, [...centre, factor * half]);
  }
  function pressed(event) {
    const v = Number(event.currentTarget.closest("[data-view]").dataset.view);
    const { key } = event;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (key in ARROWS) choose(nextIn(views[v], ARROWS[key]));
    else if (key === "Escape") choose(null);
    else if ((key === "q" || key === "Q") && state.chosen !== null) choose((state.chosen + n) % (2 * n));
    else if (key === "+" || key === "=") zoom(v, ZOOM.in);
    else if (key === "-") zoom(v, ZOOM.out);
    else if (key === "0") zoom(v, ZOOM.all);
    else return;
    event.preventDefault();
  }

  // -- begin

  function listen() {
    byId("kind").addEventListener("change", () => {
      byId("severity").max = levels().length - 1;
      byId("severity").value = levels().length - 1;
      readDials();
    });
    byId("severity").addEventListener("input", () => readDials());
    byId("colour").addEventListener("change", (event) => {
      state.colour = event.target.value;
      document.body.dataset.colour = state.colour;
      legend();
      paint();
    });
    every("input[name=person], input[name=camera], #show-hq, #show-lq, #lines")
      .forEach((box) => box.addEventListener("change", readFilters));
    byId("people-all").addEventListener("click", () => tick("person", () => true));
    byId("people-none").addEventListener("click", () => tick("person", () => false));
    byId("people-few").addEventListener("click", () => tick("person", (at) => at < FEW));
    byId("camera-all").addEventListener("click", () => tick("camera", () => true));
    byId("image").addEventListener("change", (event) => {
      const lq = document.querySelector("input[name=quality]:checked").value === "lq";
      choose(Number(event.target.value) + (lq ? n : 0));
    });
    every("input[name=quality]").forEach((radio) => radio.addEventListener("change", () => {
      choose(image(state.chosen ?? 0) + (radio.value === "lq" ? n : 0));
    }));
    byId("previous").addEventListener("click", () => chooseBeside(-1));
    byId("next").addEventListener("click", () => chooseBeside(1));
    byId("detail").addEventListener("click", (event) => {
      const near = event.target.closest(".near");
      if (near) choose(Number(near.dataset.point));
    });
    every("[data-zoom]").forEach((button) => button.addEventListener("click", () => {
      zoom(Number(button.closest("[data-view]").dataset.view), ZOOM[button.dataset.zoom]);
    }));
    every(".map").forEach((map) => {
      map.addEventListener("keydown", pressed);
      map.addEventListener("pointerleave", hideTip);
    });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
    every("[data-person]").forEach((i) => { i.style.background = hue("person", Number(i.dataset.person)); });
    every("[data-camera]").forEach((i) => { i.style.background = hue("camera", Number(i.dataset.camera)); });
  }
  function begin() {
    const doc = Bokeh.documents[0];
    const named = (name) => doc.get_model_by_name(name);
    models = {
      points: named("points"),
      shown: named("shown"),
      plots: views.map((_, v) => named(`map${v}`)),
      lines: views.map((_, v) => named(`lines${v}`)),
      marks: views.map((_, v) => named(`marks${v}`)),
    };
    document.body.dataset.colour = state.colour;
    fillChooser();
    listen();
    legend();
    readFilters();
    readDials(false);
    choose(telling());
    document.body.dataset.ready = "yes";
  }
  // Bokeh draws its maps after this program was read, then the points can be placed.
  function await_maps() {
    const doc = window.Bokeh && Bokeh.documents[0];
    if (doc && doc.get_model_by_name("points") && doc.is_idle) begin();
    else requestAnimationFrame(await_maps);
  }
  window.explorer = { picked, hovered, state, data };
  await_maps();
})();
