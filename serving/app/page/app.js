// The page: asks the app, draws what it answers, tells it what the user does.

import { api, ApiError, randomId, setToken } from "./js/api.js";
import { Ask, PAGE_SIZE } from "./js/ask.js";
import { Controls } from "./js/controls.js";
import { byId, el, toast } from "./js/dom.js";
import { List } from "./js/list.js";
import { Picker } from "./js/picker.js";
import { silence } from "./js/player.js";
import { Profile } from "./js/profile.js";
import { basis, drawExamples, drawSaid, notes } from "./js/said.js";
import { empty, failed, loading, passing, waiting } from "./js/states.js";
import { Users } from "./js/users.js";

const MOST_WAIT = 30; // seconds between two tries of its own
const SAID = {
  like: (title) => `Liked ${title}`,
  dislike: (title) => `Noted: not ${title}`,
  less: (title) => `Less like ${title}`,
  rating: (title, value) => `Rated ${title} ${value}`,
  not: (title) => `${title} is left out for now`,
};

const users = new Users();
const list = new List(byId("list"), byId("list-heading"));
let about = null;
let controls = null;
let ask = new Ask();
let understood = null;
let listId = null; // of the answer that is on the page
let running = null; // AbortController of the request under way
let tries = 0;
let retryTimer = 0;
let clicked = new Set();
const sending = new Set(); // what is on its way, so that a double click counts once

const profile = new Profile({ user: () => users.current, forgot, pick: openPicker, token: useToken });
const picker = new Picker((count) => refresh(`${count} ${count === 1 ? "favourite" : "favourites"} noted`));

function heading() {
  if (ask.similar) return `Like ${ask.similar.title}`;
  if (ask.mode === "search") return "Found";
  return ask.turns.length ? "Found for you" : "For you";
}

function drawQuestion() {
  byId("list-heading").textContent = heading();
  byId("words").placeholder = ask.turns.length ? "Refine it: “no …”, “but …”" : "What are you in the mood for?";
  drawExamples(about?.examples ?? [], !ask.turns.length && !ask.similar, say);
  const changed = (change) => (argument) => {
    change(argument);
    ask.k = PAGE_SIZE;
    refresh();
    const touch = window.matchMedia("(pointer: coarse)").matches; // where the focus would open a keyboard over the list
    byId(touch ? "list-heading" : "words").focus({ preventScroll: true });
  };
  drawSaid(ask, understood, {
    unsay: changed((turn) => ask.unsay(turn)),
    drop: changed((one) => ask.drop(one)),
    undrop: changed((key) => ask.undrop(key)),
    bringBack: changed((id) => ask.without.delete(id)),
    unsimilar: changed(() => (ask.similar = null)),
    clear: changed(() => clearAll()),
  });
  controls?.sync();
}

function clearAll() {
  ask.clear();
  understood = null;
}

async function fetchList(signal) {
  ask.k = Math.min(ask.k, about.max_k);
  if (ask.mode === "recommend") return api.recommend({ user: users.current.id, ...ask.params }, signal);
  // These two know nobody, so that what is left out for now is left out here.
  const k = Math.min(about.max_k, ask.k + ask.without.size);
  const answer = await (ask.mode === "similar" ? api.similar(ask.similar.id, k, signal) : api.search({ ...ask.params, k }, signal));
  return { ...answer, items: answer.items.filter((one) => !ask.without.has(one.id)).slice(0, ask.k) };
}

/**
 * Asks for the list and shows it; of several under way, the last one counts.
 * @param {string} said what the user did, to be said together with what it changed
 */
async function refresh(said = "") {
  running?.abort();
  clearTimeout(retryTimer);
  const mine = (running = new AbortController());
  drawQuestion();
  const results = byId("list");
  results.setAttribute("aria-busy", "true");
  const wrong = byId("state").querySelector('[data-state="error"] .state-wait');
  if (wrong) wrong.textContent = "Trying again …"; // the button that was pressed stays, and so does the focus
  else if (!list.ids.length) byId("state").replaceChildren(loading());
  try {
    about ??= await start();
    const answer = await fetchList(mine.signal);
    if (running !== mine) return;
    tries = 0;
    show(answer, said);
  } catch (error) {
    if (running !== mine || error.name === "AbortError") return;
    if (!(error instanceof ApiError)) throw error;
    showError(error);
  } finally {
    if (running === mine) results.removeAttribute("aria-busy");
  }
}

/** What the page needs to know of the app, once. */
async function start() {
  const said = await api.about();
  byId("catalogue").textContent = `${said.name}, ${said.items.toLocaleString("en")} items`;
  controls = new Controls(said, ask, () => {
    ask.k = PAGE_SIZE;
    refresh();
  });
  return said;
}

function show(answer, said) {
  understood = answer.understood ?? null;
  listId = answer.list_id ?? null;
  drawQuestion();
  const first = !list.ids.length;
  const fresh = list.show(answer.items, about, act, !first);
  byId("state").replaceChildren(...(answer.items.length ? [] : [nothing()]));
  byId("based-on").textContent = answer.items.length ? basis(ask, answer) : "";
  byId("notes").replaceChildren(...notes(answer));
  byId("more").hidden = answer.items.length < ask.k || ask.k >= about.max_k;
  const version = answer.model.version === null ? "" : ` version ${answer.model.version}`;
  byId("model").textContent = `Model ${answer.model.name}${version}`;
  const changed = answer.items.length ? `${answer.items.length} items${first ? "" : `, ${fresh} of them new`}.` : "Nothing fits.";
  if (said || !first) toast([said, changed].filter(Boolean).join(". "));
}

function nothing() {
  const ways = [];
  const way = (label, go) => ways.push([label, () => {
    go();
    refresh();
    byId("list-heading").focus();
  }]);
  if (ask.turns.length) way("Take back the last words", () => ask.unsay(ask.turns.length - 1));
  if (ask.filters) way("Clear filters", () => [ask.categories, ask.media, ask.without].forEach((one) => one.clear()));
  if (ask.hideSeen && ask.mode === "recommend") way("Show what I have seen, too", () => (ask.hideSeen = false));
  return empty("Every item is left out by your words, your filters or what you have seen.", ways);
}

function showError(error) {
  list.clear();
  silence();
  for (const id of ["notes", "based-on", "model"]) byId(id).replaceChildren();
  byId("more").hidden = true;
  tries += 1;
  const wait = passing(error) ? Math.min(MOST_WAIT, Math.max(error.retryAfter, 2 ** tries)) : 0;
  if (wait) retryTimer = setTimeout(() => refresh(), 1000 * wait);
  const reset = () => {
    clearAll();
    refresh();
  };
  const what = `${error.status} ${error.message}`;
  const there = byId("state").querySelector('[data-state="error"]');
  if (wait && there?.dataset.what === what) {
    there.querySelector(".state-wait").textContent = waiting(wait); // an alert that is drawn anew is read out anew
    return;
  }
  const node = failed(error, { retry: () => refresh(), reset, token: useToken, wait });
  node.dataset.what = what;
  byId("state").replaceChildren(node);
}

function useToken(value) {
  setToken(value);
  refresh();
}

/** What the user does with a card. */
async function act(kind, item, value) {
  if (kind === "similar") {
    ask.similar = { id: item.id, title: item.title };
    ask.k = PAGE_SIZE;
    tell({ kind: "click", item: item.id });
    await refresh();
    byId("list-heading").focus();
    return;
  }
  if (kind === "click") {
    if (!clicked.has(item.id)) tell({ kind: "click", item: item.id });
    clicked.add(item.id);
    return;
  }
  if (kind === "not") ask.leaveOut(item);
  else {
    const event = { kind: kind === "less" ? "dislike" : kind, item: item.id };
    if (kind === "less") event.scope = "kind";
    if (kind === "rating") event.value = value;
    const key = JSON.stringify(event);
    if (sending.has(key)) return;
    sending.add(key);
    const told = await tell(event, () => refresh(SAID[kind](item.title, value))).finally(() => sending.delete(key));
    if (!told) return;
  }
  await refresh(SAID[kind](item.title, value));
}

/**
 * Sends an event; under the same id again where it fails and the user wants to, so that it counts once.
 * @param {(() => void) | null} after what to do once a second try has succeeded
 * @returns {Promise<boolean>} whether the app has it
 */
async function tell(event, after = null) {
  const user = users.current.id;
  const whole = { ...event, id: event.id ?? randomId() };
  if (listId && event.kind !== "query") whole.list_id ??= listId;
  try {
    await api.events(user, [whole]);
    return user === users.current.id;
  } catch (error) {
    if (user !== users.current.id) return false;
    const again = async () => {
      if (await tell(whole, after)) (after ?? (() => toast("Saved.")))();
    };
    const action = error.status === 401 ? ["Give a token", () => askToken(error, again)] : ["Try again", again];
    toast(`Not saved: ${error.message}`, { bad: true, action });
    return false;
  }
}

/** Above the list, which stays; what was not saved is sent again with the token. */
function askToken(error, again) {
  const token = (value) => {
    setToken(value);
    byId("state").replaceChildren();
    again();
  };
  byId("state").replaceChildren(failed(error, { token }));
  byId("token").focus();
}

async function say(words) {
  ask.say(words);
  tell({ kind: "query", text: words });
  list.clear();
  silence();
  await refresh(`You asked: ${words}`);
}

function drawUsers() {
  const options = users.all.map((one) => el("option", { value: one.id, selected: one === users.current }, one.name));
  byId("user").replaceChildren(...options);
}

/** Everything on the page is somebody's: it goes before the next user's answer comes. */
async function enter() {
  running?.abort();
  silence();
  profile.close();
  picker.close();
  list.clear();
  byId("toast").className = "toast";
  byId("toast").replaceChildren();
  for (const id of ["state", "notes", "based-on", "model"]) byId(id).replaceChildren();
  byId("words").value = "";
  listId = understood = null;
  clicked = new Set();
  clearAll();
  drawUsers();
  await Promise.all([refresh(), welcome()]);
}

/** A newcomer is asked what they like; so is who wants to be. */
async function welcome() {
  const user = users.current.id;
  try {
    const { events } = await api.profile(user);
    if (!events && user === users.current.id) await picker.open(user, () => user === users.current.id);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error; // what fails for the app is said where the list would be
  }
}

async function openPicker() {
  const user = users.current.id;
  try {
    await picker.open(user, () => user === users.current.id);
    byId("picker").querySelector("button")?.focus();
    byId("picker").scrollIntoView({ block: "start" });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, { bad: true });
  }
}

async function forgot(answer) {
  users.renew();
  await enter();
  const events = `${answer.store} ${answer.store === 1 ? "event" : "events"}`;
  toast(`Forgotten: ${events}, and ${answer.log} lines of the log. ${answer.note}`);
  byId("list-heading").focus();
}

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = byId("words").value.trim();
  if (!words) return;
  byId("words").value = "";
  say(words);
});
byId("user").addEventListener("change", (event) => {
  users.choose(event.target.value);
  enter();
});
byId("new-user").addEventListener("click", () => {
  users.add();
  enter();
});
byId("open-profile").addEventListener("click", () => profile.open());
byId("more").addEventListener("click", async () => {
  const last = byId("list").lastElementChild;
  ask.k = Math.min(about.max_k, ask.k + PAGE_SIZE);
  await refresh();
  last?.nextElementSibling?.querySelector("button")?.focus();
});

enter();
