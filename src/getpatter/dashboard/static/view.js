// How calls look. No state, no network, and no text that could become markup: everything is textContent.

const STAGES = ["endpoint", "llm", "tts", "engine", "playout"];
const STAGE_NAMES = { endpoint: "end of speech", llm: "model", tts: "voice", engine: "engine", playout: "playout" };

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.map((each) => (each instanceof Node ? each : String(each))));
  return made;
}

// ------------------------------------------------------------------------------------- words and numbers

const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : 0);
const dollars = new Intl.NumberFormat("en", { style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: 4 });

export const money = (value) => dollars.format(number(value));
export const milliseconds = (value) => (number(value) > 0 ? `${Math.round(value)} ms` : "–");
export const instant = (seconds) => (number(seconds) > 0 ? new Date(seconds * 1000).toLocaleString() : "–");

export function duration(seconds) {
  const whole = Math.max(0, Math.round(number(seconds)));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (part) => String(part).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

const costOf = (call) => {
  const cost = call.metrics?.cost ?? {};
  return ["stt", "tts", "llm", "telephony"].reduce((sum, name) => sum + number(cost[name]), 0);
};

const providersOf = (call) => {
  const { metrics = {}, agent = {} } = { ...call, metrics: call.metrics ?? {}, agent: call.agent ?? {} };
  const parts = [
    call.telephony_provider,
    call.provider_mode || metrics.provider_mode,
    metrics.stt_provider,
    metrics.llm_provider || agent.model,
    metrics.tts_provider || agent.voice,
  ];
  return [...new Set(parts.filter(Boolean))].join(" · ");
};

// ------------------------------------------------------------------------------------------------ lists

// Makes `parent` show `items`, and touches only what is new, gone or changed: who listens to a screen reader hears
// a line once.
export function show(parent, items, keyOf, make, update = () => {}) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, index) => {
    const key = String(keyOf(item, index));
    let child = old.get(key);
    old.delete(key);
    if (!child) {
      child = make(item);
      child.dataset.key = key;
    }
    update(child, item);
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  for (const child of old.values()) child.remove();
}

export function showFacts(list, facts) {
  show(
    list,
    facts.filter(([, value]) => value !== "" && value !== undefined),
    ([name]) => name,
    ([name]) => element("div", {}, element("dt", {}, name), element("dd")),
    (tile, [, value]) => setText(tile.lastElementChild, value),
  );
}

export function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

export function showTranscript(list, lines) {
  show(
    list,
    lines ?? [],
    (line, index) => `${index} ${line.role} ${line.text}`,
    (line) =>
      element(
        "li",
        { class: line.role === "assistant" ? "assistant" : "user" },
        element("span", { class: "who" }, line.role === "assistant" ? "agent" : "caller"),
        line.text ?? "",
      ),
  );
}

// ------------------------------------------------------------------------------------------- live calls

export function liveCard(call, onOpen) {
  const open = element("button", { type: "button", class: "open" });
  open.addEventListener("click", () => onOpen(call.call_id));
  return element(
    "li",
    {},
    element("h3", {}, open),
    element("p", { class: "quiet" }),
    element("ol", { class: "transcript", "aria-live": "polite", "aria-label": "Transcript", tabindex: "0" }),
  );
}

export function updateLiveCard(card, call, now) {
  const [title, facts, lines] = card.children;
  setText(title.firstElementChild, `${call.caller || "unknown"} → ${call.callee || "unknown"}`);
  tickLiveCard(card, call, now);
  facts.title = providersOf(call);
  const wasAtEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 4;
  showTranscript(lines, call.transcript);
  if (wasAtEnd) lines.scrollTop = lines.scrollHeight;
}

export function tickLiveCard(card, call, now) {
  const parts = [call.direction, call.status, duration(now - number(call.started_at)), providersOf(call)];
  setText(card.children[1], parts.filter(Boolean).join(" · "));
}

// ---------------------------------------------------------------------------------------------- history

export function historyRow(call, onOpen) {
  const open = element("button", { type: "button", class: "open" });
  open.addEventListener("click", () => onOpen(call.call_id));
  const box = element("input", { type: "checkbox", value: call.call_id });
  const cells = ["", "", "", "", "number", "number", "number", "number"].map((name) => element("td", name ? { class: name } : {}));
  return element("tr", {}, element("td", {}, box), element("td", {}, open), ...cells);
}

export function updateHistoryRow(row, call) {
  const [box, started, ...cells] = row.children;
  const metrics = call.metrics ?? {};
  box.firstElementChild.setAttribute("aria-label", `Select the call of ${instant(call.started_at)}`);
  setText(started.firstElementChild, instant(call.started_at));
  const texts = [
    call.caller || "–",
    call.callee || "–",
    call.direction || "–",
    call.status,
    call.duration_seconds == null ? "–" : duration(call.duration_seconds),
    call.metrics ? money(costOf(call)) : "–",
    milliseconds(metrics.latency_avg?.total_ms),
    milliseconds(metrics.latency_p95?.total_ms),
  ];
  texts.forEach((text, index) => setText(cells[index], text));
  cells[3].classList.toggle("failed", call.status === "failed");
}

// --------------------------------------------------------------------------------------------- one call

export function factsOf(call) {
  const metrics = call.metrics ?? {};
  const cost = metrics.cost ?? {};
  const costs = call.metrics
    ? [
        ["Cost", money(costOf(call))],
        ["Recogniser", money(cost.stt)],
        ["Model", money(cost.llm)],
        ["Voice", money(cost.tts)],
        ["Telephony", money(cost.telephony)],
        ["Latency, average", milliseconds(metrics.latency_avg?.total_ms)],
        ["Latency, P95", milliseconds(metrics.latency_p95?.total_ms)],
      ]
    : [];
  return [
    ["From", call.caller || "–"],
    ["To", call.callee || "–"],
    ["Direction", call.direction || "–"],
    ["Status", [call.status, call.reason].filter(Boolean).join(": ")],
    ["Started", instant(call.started_at)],
    ["Duration", call.duration_seconds == null ? "" : duration(call.duration_seconds)],
    ...costs,
    ["Providers", providersOf(call)],
    ["Recording", call.recording_path || call.recording?.url || ""],
    ["Call id", call.call_id],
  ];
}

// Where the time of an answer went, as [stage, milliseconds]. Older records have the stages and no waterfall.
export function waterfall(turn) {
  const measured = turn.waterfall ?? {};
  const parts = STAGES.map((stage) => [stage, number(measured[`${stage}_ms`])]).filter(([, ms]) => ms > 0);
  if (parts.length) return parts;
  const latency = turn.latency ?? {};
  const known = [
    ["endpoint", number(latency.endpoint_ms)],
    ["llm", number(latency.llm_ttft_ms ?? latency.llm_ms)],
    ["tts", number(latency.tts_ms)],
  ].filter(([, ms]) => ms > 0);
  const rest = number(latency.total_ms) - known.reduce((sum, [, ms]) => sum + ms, 0);
  return rest > 0.5 ? [...known, [known.length ? "playout" : "engine", rest]] : known;
}

export function turnItem(turn) {
  const parts = waterfall(turn);
  const total = parts.reduce((sum, [, ms]) => sum + ms, 0);
  const words = parts.map(([stage, ms]) => `${STAGE_NAMES[stage]} ${milliseconds(ms)}`).join(", ");
  const head = [`Turn ${turn.turn_index}`, total ? milliseconds(total) : "", turn.interrupted ? "interrupted" : ""];
  const item = element("li", {}, element("strong", {}, head.filter(Boolean).join(" · ")));
  if (total) {
    const bar = element("div", { class: "bar", role: "img", "aria-label": words });
    for (const [stage, ms] of parts) {
      const piece = element("span", { class: stage, title: `${STAGE_NAMES[stage]} ${milliseconds(ms)}` });
      piece.style.width = `${(100 * ms) / total}%`;
      bar.append(piece);
    }
    item.append(bar, element("span", { class: "quiet" }, words));
  }
  for (const [who, text] of [["caller", turn.user_text], ["agent", turn.agent_text]]) {
    if (text) item.append(element("div", {}, element("span", { class: "who" }, who), text));
  }
  return item;
}

export function legend() {
  return STAGES.flatMap((stage) => [element("i", { class: stage }), STAGE_NAMES[stage]]);
}
