// The browser of items. All texts are set as text, never as markup: what a model says is never run.
(() => {
  const root = document.getElementById("browser");
  if (!root) return;
  const ROW = 48, EXTRA = 8;
  const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  const read = (element) => JSON.parse(element.textContent);
  const pair = read(document.getElementById("data-pair"));
  const tasks = [...document.querySelectorAll(".data-task")].map(read);
  const textElements = [...document.querySelectorAll(".data-texts")];
  const byId = (id) => document.getElementById(id);
  const controls = Object.fromEntries(["search", "task", "flip", "subject", "seed"].map((id) => [id, byId(id)]));
  const list = byId("list"), spacer = byId("spacer"), detail = byId("item");

  // What cannot be seen, or turns the reading direction, is shown by its number.
  const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
  const visible = (text) => text.replace(/\r\n?/g, "\n").replace(HIDDEN, (one) => "\\u" + one.charCodeAt(0).toString(16).padStart(4, "0"));
  const make = (tag, className, ...children) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    for (const child of children) element.append(typeof child === "string" ? visible(child) : child);
    return element;
  };

  // --- outcomes ---------------------------------------------------------------------------------------------
  tasks.forEach((task, number) => {
    const size = task.ids.length;
    task.number = number;
    const decode = (scores) => (typeof scores === "string" ? Uint8Array.from(scores, (one) => LETTERS.indexOf(one)) : Uint16Array.from(scores));
    task.scores = task.seeds.map((_, seed) => [decode(task.reference[seed]), decode(task.treated[seed])]);
    // Per seed: 1 higher, -1 lower, 0 the same, 2 where an arm has no score.
    task.ways = task.scores.map(([before, after]) => {
      const ways = new Int8Array(size);
      for (let at = 0; at < size; at++) {
        const low = task.values[before[at]], high = task.values[after[at]];
        ways[at] = low === null || high === null ? 2 : Math.sign(Math.round((high - low) * 1e6));
      }
      return ways;
    });
    task.unlikely = new Set(task.unlike);
    task.weight = new Float32Array(size);
    for (let at = 0; at < size; at++) {
      let sum = 0;
      for (const [before, after] of task.scores) sum += (task.values[after[at]] ?? 0) - (task.values[before[at]] ?? 0);
      task.weight[at] = Math.abs(sum);
    }
  });
  const idOf = (task, at) => task.leaves[task.of[at]] + task.ids[at];
  // `seed` is a place among the task's seeds, or -1 for any.
  const direction = (task, at, seed) => {
    if (seed >= 0) return task.ways[seed][at] === 2 ? 0 : task.ways[seed][at];
    let up = false, down = false;
    for (const ways of task.ways) {
      up ||= ways[at] === 1;
      down ||= ways[at] === -1;
    }
    return up && down ? 3 : up ? 1 : down ? -1 : 0;
  };
  const FITS = { any: (way) => way !== 0, up: (way) => way === 1, down: (way) => way === -1, mixed: (way) => way === 3, all: () => true };

  // --- texts, read when first needed ------------------------------------------------------------------------
  const whole = (cut) => (typeof cut === "string" ? cut : cut[0] + "\n" + cut[2]);
  const textsOf = (task) => {
    if (task.texts === undefined) {
      const element = task.kept ? textElements.find((one) => one.dataset.task === String(task.number)) : null;
      task.texts = element ? read(element) : null;
    }
    return task.texts;
  };
  const searchable = (task) => {
    if (!task.index) {
      const texts = textsOf(task);
      const given = texts ? texts.given.map((one) => [one.text === undefined ? "" : whole(one.text), ...Object.values(one.extracted || {}).map(whole)].join("\n").toLowerCase()) : [];
      task.index = task.ids.map((_, at) => {
        const parts = [idOf(task, at).toLowerCase()];
        const row = texts && texts.items[at];
        if (row) {
          parts.push(whole(row[1]).toLowerCase(), ...row[2].map((one) => whole(one).toLowerCase()));
          // The beginning of all prompts of a subject says nothing of one item; a passage does.
          for (const place of row[0].slice(1)) parts.push(whole(texts.shared[place]).toLowerCase());
          for (const two of row[3]) for (const place of two) if (place !== null) parts.push(given[place]);
        }
        return parts.join("\n");
      });
    }
    return task.index;
  };

  // --- state ------------------------------------------------------------------------------------------------
  // `chosen` is shown; it is part of the address only where somebody chose it.
  let found = [], chosen = -1, meant = false;
  const option = (value, text) => {
    const element = make("option", "", text);
    element.value = value;
    return element;
  };
  const fillSubjects = () => {
    const task = controls.task.value === "" ? null : tasks[+controls.task.value];
    const names = task ? [...new Set(task.subjects)].sort() : [];
    controls.subject.replaceChildren(option("", "all"), ...names.map((name) => option("=" + name, name)));
    controls.subject.disabled = names.length < 2;
  };
  controls.task.replaceChildren(...(tasks.length > 1 ? [option("", "all")] : []), ...tasks.map((task, at) => option(String(at), task.title)));
  controls.seed.replaceChildren(option("", "any"), ...pair.seeds.map((name, at) => option(String(at), name)));

  const fromHash = () => {
    const values = Hash.read();
    const named = tasks.findIndex((task) => task.task === values.get("task"));
    controls.task.value = named >= 0 ? String(named) : tasks.length > 1 ? "" : "0";
    fillSubjects();
    controls.search.value = values.get("q") || "";
    controls.flip.value = Object.hasOwn(FITS, values.get("flip")) ? values.get("flip") : "any";
    controls.subject.value = values.get("subject") ? "=" + values.get("subject") : "";
    if (controls.subject.selectedIndex < 0) controls.subject.value = "";
    const seed = pair.seeds.indexOf(values.get("seed"));
    controls.seed.value = seed < 0 ? "" : String(seed);
    filter(values.get("item"));
    if (values.has("item") || values.has("q")) byId("items").scrollIntoView();
  };
  const toHash = () => {
    const values = Hash.read();
    const task = tasks[+controls.task.value];
    const set = (name, value) => (value ? values.set(name, value) : values.delete(name));
    set("task", controls.task.value !== "" && tasks.length > 1 ? task.task : "");
    set("q", controls.search.value.trim());
    set("flip", controls.flip.value === "any" ? "" : controls.flip.value);
    set("subject", controls.subject.value.slice(1));
    set("seed", controls.seed.value === "" ? "" : pair.seeds[+controls.seed.value]);
    set("item", !meant ? "" : found[chosen].task.task + ":" + idOf(found[chosen].task, found[chosen].at));
    Hash.write(values);
  };
  const filter = (item) => {
    const words = controls.search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const fits = FITS[controls.flip.value], named = pair.seeds[+controls.seed.value], subject = controls.subject.value;
    let total = 0;
    found = [];
    for (const task of controls.task.value === "" ? tasks : [tasks[+controls.task.value]]) {
      total += task.ids.length;
      const seed = controls.seed.value === "" ? -1 : task.seeds.indexOf(named);
      if (controls.seed.value !== "" && seed < 0) continue;
      const index = words.length ? searchable(task) : null;
      for (let at = 0; at < task.ids.length; at++) {
        if (subject && "=" + task.subjects[task.of[at]] !== subject) continue;
        if (!fits(direction(task, at, seed))) continue;
        if (index && !words.every((word) => index[at].includes(word))) continue;
        found.push({ task, at });
      }
    }
    // First those on which the seeds agree: they are the least likely to be luck.
    found.sort((one, other) => other.task.weight[other.at] - one.task.weight[one.at]);
    byId("count").textContent = `${found.length.toLocaleString("en")} of ${total.toLocaleString("en")} items`;
    list.parentElement.classList.toggle("none", found.length === 0);
    spacer.style.height = found.length * ROW + "px";
    list.scrollTop = 0;
    const place = item ? found.findIndex((one) => one.task.task + ":" + idOf(one.task, one.at) === item) : -1;
    choose(place >= 0 ? place : found.length ? 0 : -1, place >= 0);
  };

  // --- list: only the rows in sight exist -------------------------------------------------------------------
  const MARKS = { 1: ["up", "▲"], "-1": ["down", "▼"], 0: ["same", "·"], 2: ["same", "?"] };
  const rowOf = ({ task, at }, place) => {
    const marks = make("span", "marks");
    for (const ways of task.ways) marks.append(make("span", ...MARKS[ways[at]]));
    const told = task.ways.map((ways) => ({ 1: "higher", "-1": "lower", 0: "same", 2: "no score" })[ways[at]]).join(", ");
    marks.title = "by seed: " + told;
    const id = make("span", "id", task.ids[at]);
    const subject = task.subjects[task.of[at]];
    const where = subject === task.task ? task.title : `${task.title}, ${subject.replaceAll("_", " ")}`;
    const row = make("div", "row", id, make("span", "of", where), marks);
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", String(place === chosen));
    row.setAttribute("aria-setsize", found.length);
    row.setAttribute("aria-posinset", place + 1);
    row.id = "row-" + place;
    row.style.top = place * ROW + "px";
    row.addEventListener("click", () => choose(place, true));
    return row;
  };
  const paint = () => {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - EXTRA);
    const last = Math.min(found.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + EXTRA);
    const rows = [];
    for (let place = first; place < last; place++) rows.push(rowOf(found[place], place));
    list.replaceChildren(spacer, ...rows);
  };
  const choose = (place, byHand) => {
    chosen = place;
    meant = byHand;
    if (place >= 0) {
      if (place * ROW < list.scrollTop) list.scrollTop = place * ROW;
      const over = (place + 1) * ROW - list.scrollTop - list.clientHeight;
      if (over > 0) list.scrollTop += over;
      list.setAttribute("aria-activedescendant", "row-" + place);
    } else {
      list.removeAttribute("aria-activedescendant");
    }
    paint();
    show(found[place]);
    toHash();
  };

  // --- one item ---------------------------------------------------------------------------------------------
  const text = (cut) => {
    const pre = make("pre");
    if (typeof cut === "string") pre.append(visible(cut));
    else pre.append(visible(cut[0]), make("span", "left", `\n[${cut[1].toLocaleString("en")} characters left out here]\n`), visible(cut[2]));
    return pre;
  };
  const inline = (cut) => (typeof cut === "string" ? cut : `${cut[0]} [${cut[1]} characters left out] ${cut[2]}`);
  const score = (task, index) => {
    const value = task.values[index];
    return value === null ? "none" : String(Math.round(value * 1000) / 1000);
  };
  const FINISH = { length: "cut off at the limit of new tokens", stop: "", end: "" };
  const answer = (given, row) => {
    const parts = [];
    if (!given) return [make("p", "left", "no answer kept")];
    if (given.text !== undefined) {
      parts.push(whole(given.text) === "" ? make("p", "left", "(empty answer)") : text(given.text));
      if (FINISH[given.finish]) parts.push(make("p", "read", FINISH[given.finish]));
    } else {
      const best = Math.max(...given.logprobs.map((one) => one ?? -Infinity));
      const table = make("table", "choices");
      given.logprobs.forEach((one, at) => {
        const name = row[2].length ? inline(row[2][at]) : "whole text";
        const line = make("tr", one === best ? "picked" : "", make("th", "", name), make("td", "num", one === null ? "−∞" : one.toFixed(2)));
        if (one === best) line.append(make("td", "", "◀ most likely"));
        else line.append(make("td"));
        table.append(line);
      });
      parts.push(table);
    }
    for (const [name, value] of Object.entries(given.extracted || {})) parts.push(make("p", "read", name === "none" ? "extracted: " : `extracted (${name}): `, make("code", "", inline(value))));
    if (given.samples) parts.push(make("p", "read", `first of ${given.samples} samples`));
    return parts;
  };
  const show = (one) => {
    if (!one) {
      detail.replaceChildren(make("p", "note", "No item fits these filters."));
      return;
    }
    const { task, at } = one;
    const texts = textsOf(task);
    const row = texts && texts.items[at];
    const subject = task.subjects[task.of[at]].replaceAll("_", " ");
    const parts = [make("h3", "", idOf(task, at)), make("p", "meta", `${task.title}, ${subject}; ${task.metric}`)];
    if (task.unlikely.has(at)) parts.push(make("p", "note", "The arms were asked this in different words (shots were dropped for length)."));
    if (row) {
      parts.push(make("h4", "", "Prompt"));
      for (const place of row[0]) {
        const begin = texts.shared[place];
        parts.push(make("details", "", make("summary", "", `beginning that it shares with other prompts (${(typeof begin === "string" ? begin.length : begin[0].length + begin[1] + begin[2].length).toLocaleString("en")} characters)`), text(begin)));
      }
      parts.push(text(row[1]));
    } else if (!task.kept) {
      parts.push(make("p", "note", "The texts of this task are not kept in the store that this page was written from; only scores are."));
    } else {
      parts.push(make("p", "note", task.ways.some((ways) => Math.abs(ways[at]) === 1) ? "There was no room in this page for the texts of this item." : "Texts are in this page for items that flipped only."));
    }
    task.seeds.forEach((name, seed) => {
      const way = task.ways[seed][at];
      const title = make("h4", "", `Seed ${name}: `, make("span", "way " + MARKS[way][0], { 1: "▲ higher", "-1": "▼ lower", 0: "the same", 2: "no score" }[way]));
      const sides = [["reference", pair.reference], ["treated", pair.treated]].map(([side, arm], which) => {
        const head = make("p", "", make("span", "arm", arm), ` scores ${score(task, task.scores[seed][which][at])}`);
        return make("div", "side " + side, head, ...(row ? answer(row[3][seed][which] === null ? null : texts.given[row[3][seed][which]], row) : []));
      });
      parts.push(title, make("div", "sides", ...sides));
    });
    detail.replaceChildren(...parts);
    detail.scrollTop = 0;
  };

  // --- keys -------------------------------------------------------------------------------------------------
  let waiting = 0;
  controls.search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => filter(), 80);
  });
  controls.task.addEventListener("change", fillSubjects);
  for (const name of ["task", "flip", "subject", "seed"]) controls[name].addEventListener("change", () => filter());
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  list.addEventListener("scroll", () => requestAnimationFrame(paint), { passive: true });
  addEventListener("resize", paint);
  addEventListener("hashchange", () => location.hash.includes("=") && fromHash());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, select, textarea");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      controls.search.focus();
      byId("items").scrollIntoView();
    } else if (event.key === "Escape" && event.target === controls.search) {
      list.focus();
    } else {
      const inside = event.target === list;
      const step = { j: 1, k: -1, ...(inside ? { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity } : {}) }[event.key];
      if (!step || typing || !found.length) return;
      event.preventDefault();
      choose(Math.max(0, Math.min(found.length - 1, chosen + step)), true);
    }
  });
  root.hidden = false;
  fromHash();
})();
