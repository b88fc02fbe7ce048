// What is shown, and when it is asked for again.
//
// An event says that something changed, and what it changed is fetched: so nothing is counted twice or missed, whether
// the stream was cut, replayed or has a gap. Changes that come together are one request.

import * as view from "./view.js";

const API = new URL("../api/dashboard/", import.meta.url);
const PAGE = 50;
const TOGETHER_MS = 150;
const AGAIN_MS = 3000;

const $ = (id) => document.getElementById(id);
const state = { live: [], history: [], total: 0, offset: 0, openId: "" };

// ------------------------------------------------------------------------------------------------ asking

async function ask(path, options = {}) {
  const answer = await fetch(new URL(path, API), options);
  if (answer.status === 401) throw new Error("Signed out. Open this page again with ?token=… in its address.");
  if (answer.status === 404) return { body: null, total: 0 };
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error ?? body.detail ?? `status ${answer.status}`);
  return { body, total: Number(answer.headers.get("x-total-count") ?? 0) };
}

function filters() {
  return new URLSearchParams([...new FormData($("filters"))].filter(([, value]) => value));
}

async function refreshAll() {
  const query = filters();
  query.set("limit", PAGE);
  query.set("offset", state.offset);
  const [active, totals, history] = await Promise.all([ask("active"), ask("aggregates"), ask(`calls?${query}`)]);
  state.live = active.body;
  state.history = history.body;
  state.total = history.total;
  drawTotals(totals.body);
  drawLive();
  drawHistory();
  if (state.openId) await refreshCall(state.openId);
}

async function refreshCall(callId) {
  const { body: call } = await ask(`calls/${encodeURIComponent(callId)}`);
  if (call) {
    state.live = state.live.map((each) => (each.call_id === callId ? call : each));
    drawLive();
  }
  if (state.openId === callId) call ? drawCall(call) : $("call").close();
}

// ----------------------------------------------------------------------------------------------- when to

const changed = new Set(); // call ids; "" is everything
let timer = 0;

function touch(callId = "") {
  changed.add(callId);
  timer ||= setTimeout(refresh, TOGETHER_MS);
}

async function refresh() {
  const now = changed.has("") ? [""] : [...changed];
  changed.clear();
  try {
    await Promise.all(now.map((callId) => (callId ? refreshCall(callId) : refreshAll())));
    problem("");
  } catch (error) {
    problem(error.message);
  }
  timer = 0;
  if (changed.size) touch([...changed][0]);
}

function connect() {
  const source = new EventSource(new URL("events", API));
  const whole = ["call_initiated", "call_start", "call_status", "call_end", "call_cost_updated", "recording_ready", "calls_deleted", "gap"];
  for (const name of whole) source.addEventListener(name, () => touch());
  for (const name of ["transcript_line", "turn_complete"]) {
    source.addEventListener(name, (event) => touch(JSON.parse(event.data).call_id));
  }
  source.onopen = () => {
    view.setText($("connection"), "Live");
    touch();
  };
  source.onerror = () => {
    view.setText($("connection"), "Reconnecting");
    // A browser comes back by itself after a cut, with Last-Event-ID, but not after a refusal.
    if (source.readyState === EventSource.CLOSED) {
      touch();
      setTimeout(connect, AGAIN_MS);
    }
  };
}

// ----------------------------------------------------------------------------------------------- drawing

function problem(text, kind = "request") {
  const node = $("problem");
  node.dataset[kind] = text;
  view.setText(node, [node.dataset.request, node.dataset.deletion, node.dataset.webhook].filter(Boolean).join(" "));
  node.hidden = !node.textContent;
}

function drawTotals(totals) {
  const cost = totals.cost_breakdown ?? {};
  view.showFacts($("totals"), [
    ["Live", totals.active_calls],
    ["Calls", totals.total_calls],
    ["Minutes", Number(totals.total_minutes ?? 0).toFixed(1)],
    ["Average duration", view.duration(totals.avg_duration)],
    ["Average latency", view.milliseconds(totals.avg_latency_ms)],
    ["Cost", view.money(totals.total_cost)],
    ["Recogniser", view.money(cost.stt)],
    ["Model", view.money(cost.llm)],
    ["Voice", view.money(cost.tts)],
    ["Telephony", view.money(cost.telephony)],
  ]);
  problem(totals.webhook_error ? `The carrier's webhook is not set: ${totals.webhook_error}` : "", "webhook");
}

function drawLive() {
  const now = Date.now() / 1000;
  $("live-none").hidden = state.live.length > 0;
  view.show(
    $("live"),
    state.live,
    (call) => call.call_id,
    (call) => view.liveCard(call, openCall),
    (card, call) => view.updateLiveCard(card, call, now),
  );
}

function drawHistory() {
  view.show($("history"), state.history, (call) => call.call_id, (call) => view.historyRow(call, openCall), view.updateHistoryRow);
  const last = state.offset + state.history.length;
  view.setText($("counted"), state.total ? `${state.offset + 1} to ${last} of ${state.total}` : "No calls");
  $("newer").disabled = state.offset === 0;
  $("older").disabled = last >= state.total;
  drawSelection();
}

function drawSelection() {
  const boxes = [...$("history").querySelectorAll("input")];
  const chosen = boxes.filter((box) => box.checked).length;
  $("delete").disabled = chosen === 0;
  $("all").checked = chosen > 0 && chosen === boxes.length;
}

function drawCall(call) {
  view.setText($("call-title"), `${call.caller || "unknown"} → ${call.callee || "unknown"}`);
  view.showFacts($("call-facts"), view.factsOf(call));
  view.showTranscript($("call-transcript"), call.transcript);
  view.show($("call-turns"), call.turns ?? [], (turn) => JSON.stringify(turn), view.turnItem);
}

// ------------------------------------------------------------------------------------------------ acting

async function openCall(callId) {
  state.openId = callId;
  for (const id of ["call-facts", "call-transcript", "call-turns"]) $(id).replaceChildren();
  $("call").showModal();
  touch(callId);
}

async function deleteSelected() {
  const call_ids = [...$("history").querySelectorAll("input:checked")].map((box) => box.value);
  view.setText($("sure-title"), `Delete ${call_ids.length} ${call_ids.length === 1 ? "call" : "calls"}?`);
  $("sure").returnValue = "";
  $("purge").checked = false;
  $("sure").showModal();
  await new Promise((done) => $("sure").addEventListener("close", done, { once: true }));
  if ($("sure").returnValue !== "delete") return;
  problem("", "deletion");
  const path = $("purge").checked ? "calls/delete?purge=true" : "calls/delete";
  const headers = { "content-type": "application/json" };
  try {
    const { body } = await ask(path, { method: "POST", headers, body: JSON.stringify({ call_ids }) });
    if (body.not_purged) problem(`The files of ${body.not_purged.length} calls could not be removed.`, "deletion");
  } catch (error) {
    problem(error.message, "deletion");
  }
  touch();
}

function drawExports() {
  for (const format of ["csv", "json"]) {
    const query = new URLSearchParams([...filters()].filter(([name]) => name === "from" || name === "to"));
    query.set("format", format);
    $(`export-${format}`).href = new URL(`export/calls?${query}`, API);
  }
}

function turnPage(by) {
  state.offset = Math.max(0, state.offset + by);
  touch();
}

$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("input", () => {
  state.offset = 0;
  drawExports();
  touch();
});
$("history").addEventListener("change", drawSelection);
$("all").addEventListener("change", () => {
  for (const box of $("history").querySelectorAll("input")) box.checked = $("all").checked;
  drawSelection();
});
$("delete").addEventListener("click", deleteSelected);
$("newer").addEventListener("click", () => turnPage(-PAGE));
$("older").addEventListener("click", () => turnPage(PAGE));
$("call").addEventListener("close", () => (state.openId = ""));
setInterval(() => {
  const now = Date.now() / 1000;
  const calls = new Map(state.live.map((call) => [call.call_id, call]));
  for (const card of $("live").children) view.tickLiveCard(card, calls.get(card.dataset.key) ?? {}, now);
}, 1000);

$("legend").append(...view.legend());
drawExports();
connect();
