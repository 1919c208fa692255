// The profile panel: what lists are based on, and the deletion of the profile.

import { el, byId, button } from "./dom.js";
import { api, setToken } from "./api.js";
import { errorState, tokenForm } from "./list_states.js";

const VERBS = { view: "looked at", click: "opened", like: "liked", dislike: "did not like", rating: "rated", query: "asked" };
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

function ago(time) {
  const seconds = Date.now() / 1000 - time;
  const [unit, length] = UNITS.find(([, minimum]) => seconds >= minimum) ?? ["second", 1];
  return unit === "second" ? "just now" : relative.format(-Math.floor(seconds / length), unit);
}

function eventLine(event) {
  const what = event.kind === "query" ? `“${event.text}”` : event.title ?? event.item;
  const value = event.kind === "rating" ? ` ${event.value}` : "";
  const scope = event.scope === "kind" ? " (less of this kind)" : "";
  return el("li", { class: `event is-${event.kind}` },
    el("span", { class: "event-did" }, `${VERBS[event.kind] ?? event.kind}${value}`), " ", el("span", {}, `${what}${scope}`), " ",
    el("time", { dateTime: new Date(1000 * event.time).toISOString() }, ago(event.time)));
}

function cosineBars(neighbours) {
  return el("ul", { class: "weights is-taste" }, neighbours.map(({ name, cosine }) => {
    const fill = el("span", { class: cosine < 0 ? "bar-fill is-against" : "bar-fill m0" });
    fill.style.width = `${100 * Math.min(1, Math.abs(cosine))}%`;
    return el("li", {}, el("span", { class: "bar-name" }, name), el("span", { class: "bar" }, fill), el("span", { class: "bar-value" }, cosine.toFixed(2)));
  }));
}

const section = (heading, ...children) => el("section", {}, el("h3", {}, heading), ...children);

export class ProfilePanel {
  /**
   * @param {{user: () => {id: string, name: string}, onForgotten: (answer: object) => void, onPick: () => void, onToken: (value: string) => void}} handlers
   */
  constructor(handlers) {
    this.handlers = handlers;
    this.dialog = byId("profile");
    this.dialog.addEventListener("click", (click) => {
      if (click.target === this.dialog) this.dialog.close(); // a click on the backdrop
    });
  }

  async open() {
    const user = this.handlers.user();
    this.#draw(user, el("p", { class: "hint", role: "status" }, "Loading …"));
    if (!this.dialog.open) this.dialog.showModal();
    const isShown = () => this.dialog.open && this.handlers.user().id === user.id;
    try {
      const profile = await api.profile(user.id);
      if (isShown()) this.#draw(user, ...this.#content(user, profile));
    } catch (error) {
      if (!isShown()) return;
      const token = (value) => {
        this.handlers.onToken(value);
        this.open();
      };
      this.#draw(user, errorState(error, { retry: () => this.open(), reset: () => this.dialog.close(), token, wait: 0 }));
    }
  }

  close() {
    this.dialog.close();
  }

  #draw(user, ...content) {
    this.dialog.replaceChildren(el("div", { class: "panel-in" },
      el("header", { class: "panel-head" },
        el("h2", { id: "profile-heading" }, `${user.name}: what this is based on`),
        button("×", () => this.dialog.close(), { class: "chip-x is-large", "aria-label": "Close" }),
      ),
      ...content,
    ));
  }

  #content(user, profile) {
    const { taste } = profile;
    const titles = new Map(profile.recent.filter((event) => event.item).map((event) => [event.item, event.title ?? event.item]));
    const names = (ids) => ids.map((id) => titles.get(id) ?? id).join(", ");
    return [
      el("p", { class: "lead" }, profile.based_on),
      taste.events ? section("Your taste over time", el("p", { class: "hint" }, `Made of ${taste.events} events. Cosine with the mean of each category:`), cosineBars(taste.categories),
        el("p", { class: "hint" }, "Items nearest to it:"), cosineBars(taste.items)) : null,
      profile.rating_words ? section("Your ratings in words", el("p", {}, profile.rating_words)) : null,
      profile.not_these.length ? section("Never shown to you", el("p", {}, names(profile.not_these))) : null,
      profile.less_of.length ? section("Less like these", el("p", {}, names(profile.less_of))) : null,
      profile.recent.length ? section(`Newest of ${profile.events} events`, el("ol", { class: "events" }, profile.recent.map(eventLine))) : null,
      el("footer", { class: "panel-foot" },
        button("Pick favourites", () => {
          this.dialog.close();
          this.handlers.onPick();
        }),
        this.#forget(user, profile),
      ),
    ].filter(Boolean);
  }

  /** The "Forget me" button; it asks once more, because deletion cannot be undone. */
  #forget(user, profile) {
    const box = el("div", { class: "forget" });
    const confirm = () => {
      const forget = async () => {
        yes.disabled = true;
        try {
          this.handlers.onForgotten(await api.forget(user.id));
        } catch (error) {
          const token = (value) => {
            setToken(value);
            forget();
          };
          const remedy = error.status === 401 ? tokenForm(token) : start();
          box.replaceChildren(el("p", { role: "alert", class: "is-bad" }, `Not forgotten: ${error.message}`), remedy);
        }
      };
      const yes = button("Yes, forget all of it", forget, { class: "button is-danger", id: "forget-sure" });
      const events = profile.events === 1 ? "the one event" : `all ${profile.events} events`;
      box.replaceChildren(el("p", {}, `Delete ${events} for good?`), el("div", { class: "state-ways" }, yes, button("Keep it", () => {
        box.replaceChildren(start());
        box.querySelector("button").focus();
      })));
      yes.focus();
    };
    const start = () => button("Forget me", confirm, { class: "button is-danger-quiet", id: "forget" });
    box.append(start());
    return box;
  }
}
