// The page: requests lists from the app, shows them, and sends what the user does.

import { api, ApiError, randomId, setToken } from "./js/api.js";
import { basisText, drawChips, drawExamples, noteLines, quoted } from "./js/chips.js";
import { Controls } from "./js/controls.js";
import { byId, el, toast } from "./js/dom.js";
import { List } from "./js/list.js";
import { ListRequest, PAGE_SIZE } from "./js/list_request.js";
import { emptyState, errorState, isTransient, loadingState, startingState, waitingText } from "./js/list_states.js";
import { stopPlayer } from "./js/player.js";
import { ProfilePanel } from "./js/profile.js";
import { TastePicker } from "./js/taste_picker.js";
import { Users } from "./js/users.js";

const MAX_RETRY_SECONDS = 30;
const START_RETRY_SECONDS = 1; // while the model is loading
const ACTION_TEXTS = {
  like: (title) => `Liked ${title}`,
  dislike: (title) => `Noted: not ${title}`,
  less: (title) => `Less like ${title}`,
  rating: (title, value) => `Rated ${title} ${value}`,
  not: (title) => `${title} is left out for now`,
};

const users = new Users();
const list = new List(byId("list"), byId("list-heading"));
const request = new ListRequest();
let about = null;
let controls = null;
let understood = null;
let listId = null; // of the list on the page
let pending = null; // AbortController of the list request in progress
let failures = 0; // in a row
let isNewcomer = false; // whose taste picker opens below their first list
let retryTimer = 0;
let clicked = new Set();
const sending = new Set(); // events in progress, so that a double click counts once

const profile = new ProfilePanel({ user: () => users.current, onForgotten, onPick: openPicker, onToken: useToken });
const picker = new TastePicker((count) => refresh(`${count} ${count === 1 ? "favourite" : "favourites"} noted`));

function heading() {
  if (request.similar) return `Like ${request.similar.title}`;
  if (request.mode === "search") return "Found";
  const isFound = request.turns.length && (!understood || understood.query || understood.chips.length);
  return isFound ? "Found for you" : "For you";
}

function drawRequest() {
  byId("list-heading").textContent = heading();
  byId("words").placeholder = request.turns.length ? "Refine it: “no …”, “but …”" : "What would you like?";
  drawExamples(about?.examples ?? [], !request.turns.length && !request.similar, search);
  const refreshAfter = (change) => (argument) => {
    change(argument);
    request.k = PAGE_SIZE;
    refresh();
    const isTouch = window.matchMedia("(pointer: coarse)").matches; // focusing the field would open a keyboard over the list
    byId(isTouch ? "list-heading" : "words").focus({ preventScroll: true });
  };
  drawChips(request, understood, {
    removeTurn: refreshAfter((turn) => request.removeTurn(turn)),
    dropCondition: refreshAfter((condition) => request.dropCondition(condition)),
    restoreCondition: refreshAfter((key) => request.restoreCondition(key)),
    include: refreshAfter((id) => request.without.delete(id)),
    leaveSimilar: refreshAfter(() => (request.similar = null)),
    clear: refreshAfter(() => clearRequest()),
  });
  controls?.sync();
  picker.stepAside(Boolean(request.turns.length || request.similar)); // answers come first
}

function clearRequest() {
  request.clear();
  understood = null;
}

async function fetchList(signal) {
  request.k = Math.min(request.k, about.max_k);
  if (request.mode === "recommend") return api.recommend({ user: users.current.id, ...request.params }, signal);
  // These two routes do not take `without`: such items are removed here.
  const k = Math.min(about.max_k, request.k + request.without.size);
  const answer = await (request.mode === "similar" ? api.similar(request.similar.id, k, signal) : api.search({ ...request.params, k }, signal));
  return { ...answer, items: answer.items.filter((item) => !request.without.has(item.id)).slice(0, request.k) };
}

/**
 * Fetches the list and shows it; a newer call replaces one in progress.
 * @param {string} action what the user did, announced together with the change of the list
 */
async function refresh(action = "") {
  pending?.abort();
  clearTimeout(retryTimer);
  const controller = (pending = new AbortController());
  drawRequest();
  const results = byId("list");
  results.setAttribute("aria-busy", "true");
  const shown = byId("state").firstElementChild?.dataset.state;
  const errorWait = byId("state").querySelector('[data-state="error"] .state-wait');
  if (errorWait) errorWait.textContent = "Trying again …"; // the pressed button stays and keeps the focus
  else if (!list.ids.length && shown !== "starting") byId("state").replaceChildren(loadingState());
  try {
    about ??= await start();
    const answer = await fetchList(controller.signal);
    if (pending !== controller) return;
    failures = 0;
    showList(answer, action);
  } catch (error) {
    if (pending !== controller || error.name === "AbortError") return;
    if (!(error instanceof ApiError)) throw error;
    showError(error);
  } finally {
    if (pending === controller) results.removeAttribute("aria-busy");
  }
}

/** Fetches /about and draws the controls, once. */
async function start() {
  const answer = await api.about();
  byId("catalogue").textContent = `${answer.name}, ${answer.items.toLocaleString("en")} items`;
  controls = new Controls(answer, request, () => {
    request.k = PAGE_SIZE;
    refresh();
  });
  return answer;
}

function showList(answer, action) {
  understood = answer.understood ?? null;
  listId = answer.list_id ?? null;
  drawRequest();
  const isFirst = !list.ids.length;
  const numNew = list.show(answer.items, about, act, !isFirst);
  byId("state").replaceChildren(...(answer.items.length ? [] : [noResults()]));
  byId("based-on").textContent = answer.items.length ? basisText(request, answer) : "";
  byId("notes").replaceChildren(...noteLines(answer));
  byId("more").hidden = answer.items.length < request.k || request.k >= about.max_k;
  const version = answer.model.version === null ? "" : ` version ${answer.model.version}`;
  byId("model").textContent = `Model ${answer.model.name}${version}`;
  const change = answer.items.length ? `${answer.items.length} items${isFirst ? "" : `, ${numNew} of them new`}.` : "Nothing fits.";
  if (action || !isFirst) {
    const newest = (understood?.not_understood ?? []).filter(({ turn }) => turn === request.turns.length - 1);
    const unknown = newest.length ? `Not understood: ${quoted(newest)}.` : "";
    toast([action && `${action}.`, unknown, change].filter(Boolean).join(" "));
  }
  if (isNewcomer) {
    isNewcomer = false;
    offerPicker();
  }
}

function noResults() {
  const actions = [];
  const offer = (label, change) => actions.push([label, () => {
    change();
    refresh();
    byId("list-heading").focus();
  }]);
  if (request.turns.length) offer("Take back the last words", () => request.removeTurn(request.turns.length - 1));
  if (request.numFilters) offer("Clear filters", () => [request.categories, request.media, request.without].forEach((filter) => filter.clear()));
  if (request.hideSeen && request.mode === "recommend") offer("Show what I have seen, too", () => (request.hideSeen = false));
  return emptyState("Every item is left out by your words, your filters or what you have seen.", actions);
}

function showError(error) {
  list.clear();
  stopPlayer();
  for (const id of ["notes", "based-on", "model"]) byId(id).replaceChildren();
  byId("more").hidden = true;
  if (error.loading) {
    failures = 0;
    retryTimer = setTimeout(() => refresh(), 1000 * START_RETRY_SECONDS);
    if (byId("state").firstElementChild?.dataset.state !== "starting") byId("state").replaceChildren(startingState()); // read out once
    return;
  }
  failures += 1;
  const wait = isTransient(error) ? Math.min(MAX_RETRY_SECONDS, Math.max(error.retryAfter, 2 ** failures)) : 0;
  if (wait) retryTimer = setTimeout(() => refresh(), 1000 * wait);
  const reset = () => {
    clearRequest();
    refresh();
  };
  const key = `${error.status} ${error.message}`;
  const shown = byId("state").querySelector('[data-state="error"]');
  if (wait && shown?.dataset.error === key) {
    shown.querySelector(".state-wait").textContent = waitingText(wait); // a new alert would be read out again
    return;
  }
  const node = errorState(error, { retry: () => refresh(), reset, token: useToken, wait });
  node.dataset.error = key;
  byId("state").replaceChildren(node);
}

function useToken(value) {
  setToken(value);
  refresh();
}

/** Handles what the user does with a card: like, dislike, not, less, similar, rating or click. */
async function act(kind, item, value) {
  if (kind === "similar") {
    request.similar = { id: item.id, title: item.title };
    request.k = PAGE_SIZE;
    sendEvent({ kind: "click", item: item.id });
    await refresh();
    byId("list-heading").focus();
    return;
  }
  if (kind === "click") {
    if (!clicked.has(item.id)) sendEvent({ kind: "click", item: item.id });
    clicked.add(item.id);
    return;
  }
  if (kind === "not") request.exclude(item);
  else {
    const event = { kind: kind === "less" ? "dislike" : kind, item: item.id };
    if (kind === "less") event.scope = "kind";
    if (kind === "rating") event.value = value;
    const key = JSON.stringify(event);
    if (sending.has(key)) return;
    sending.add(key);
    const stored = await sendEvent(event, () => refresh(ACTION_TEXTS[kind](item.title, value))).finally(() => sending.delete(key));
    if (!stored) return;
  }
  await refresh(ACTION_TEXTS[kind](item.title, value));
}

/**
 * Sends an event. If it fails the user can try again, with the same event id, so that it counts once.
 * @param {(() => void) | null} onRetried called once a second try has succeeded
 * @returns {Promise<boolean>} whether the app has stored it
 */
async function sendEvent(event, onRetried = null) {
  const user = users.current.id;
  const complete = { ...event, id: event.id ?? randomId() };
  if (listId && event.kind !== "query") complete.list_id ??= listId;
  try {
    await api.events(user, [complete]);
    return user === users.current.id;
  } catch (error) {
    if (user !== users.current.id) return false;
    const retry = async () => {
      if (await sendEvent(complete, onRetried)) (onRetried ?? (() => toast("Saved.")))();
    };
    const action = error.status === 401 ? ["Give a token", () => askForToken(error, retry)] : ["Try again", retry];
    toast(`Not saved: ${error.message}`, { bad: true, action });
    return false;
  }
}

/** Shows a token form above the list; `retry` sends the event that was not saved again. */
function askForToken(error, retry) {
  const token = (value) => {
    setToken(value);
    byId("state").replaceChildren();
    retry();
  };
  byId("state").replaceChildren(errorState(error, { token }));
  byId("token").focus();
}

async function search(words) {
  request.addTurn(words);
  sendEvent({ kind: "query", text: words });
  list.clear();
  stopPlayer();
  await refresh(`You asked: ${words}`);
}

function drawUsers() {
  const options = users.all.map((user) => el("option", { value: user.id, selected: user === users.current }, user.name));
  byId("user").replaceChildren(...options);
}

/** Removes everything of the previous user from the page and loads the current one. */
async function enterUser() {
  pending?.abort();
  stopPlayer();
  profile.close();
  picker.close();
  list.clear();
  byId("toast").className = "toast";
  byId("toast").replaceChildren();
  for (const id of ["state", "notes", "based-on", "model"]) byId(id).replaceChildren();
  byId("words").value = "";
  listId = null;
  clicked = new Set();
  clearRequest();
  drawUsers();
  isNewcomer = true;
  await refresh();
}

/** Opens the taste picker for a user without events. */
async function offerPicker() {
  const user = users.current.id;
  try {
    const { events } = await api.profile(user);
    if (!events && user === users.current.id) await picker.open(user, () => user === users.current.id);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error; // an ApiError is shown in place of the list
  }
}

async function openPicker() {
  const user = users.current.id;
  picker.stepAside(false);
  try {
    await picker.open(user, () => user === users.current.id);
    byId("picker").querySelector("button")?.focus();
    byId("picker").scrollIntoView({ block: "start" });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, { bad: true });
  }
}

async function onForgotten(answer) {
  users.renew();
  await enterUser();
  const events = `${answer.store} ${answer.store === 1 ? "event" : "events"}`;
  toast(`Forgotten: ${events}, and ${answer.log} lines of the log. ${answer.note}`);
  byId("list-heading").focus();
}

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = byId("words").value.trim();
  if (!words) return;
  byId("words").value = "";
  search(words);
});
byId("user").addEventListener("change", (event) => {
  users.choose(event.target.value);
  enterUser();
});
byId("new-user").addEventListener("click", () => {
  users.add();
  enterUser();
});
byId("open-profile").addEventListener("click", () => profile.open());
byId("more").addEventListener("click", async () => {
  const last = byId("list").lastElementChild;
  request.k = Math.min(about.max_k, request.k + PAGE_SIZE);
  await refresh();
  last?.nextElementSibling?.querySelector("button")?.focus();
});

enterUser();
