// The profile panel: what lists are based on, in the app's own words and numbers, and the way to be forgotten.

import { el, byId, button } from "./dom.js";
import { api, setToken } from "./api.js";
import { failed, tokenForm } from "./states.js";

const DID = { view: "looked at", click: "opened", like: "liked", dislike: "did not like", rating: "rated", query: "asked" };
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

function ago(time) {
  const seconds = Date.now() / 1000 - time;
  const [unit, length] = UNITS.find(([, least]) => seconds >= least) ?? ["second", 1];
  return unit === "second" ? "just now" : relative.format(-Math.floor(seconds / length), unit);
}

function event(one) {
  const what = one.kind === "query" ? `“${one.text}”` : one.title ?? one.item;
  const value = one.kind === "rating" ? ` ${one.value}` : "";
  const scope = one.scope === "kind" ? " (less of this kind)" : "";
  return el("li", { class: `event is-${one.kind}` },
    el("span", { class: "event-did" }, `${DID[one.kind] ?? one.kind}${value}`), " ", el("span", {}, `${what}${scope}`), " ",
    el("time", { dateTime: new Date(1000 * one.time).toISOString() }, ago(one.time)));
}

function near(list) {
  return el("ul", { class: "weights is-taste" }, list.map((one) => {
    const fill = el("span", { class: one.cosine < 0 ? "bar-fill is-against" : "bar-fill m0" });
    fill.style.width = `${100 * Math.min(1, Math.abs(one.cosine))}%`;
    return el("li", {}, el("span", { class: "bar-name" }, one.name), el("span", { class: "bar" }, fill), el("span", { class: "bar-value" }, one.cosine.toFixed(2)));
  }));
}

const part = (heading, ...children) => el("section", {}, el("h3", {}, heading), ...children);

export class Profile {
  /**
   * @param {{user: () => {id: string, name: string}, forgot: (answer: object) => void, pick: () => void, token: (value: string) => void}} on
   */
  constructor(on) {
    this.on = on;
    this.dialog = byId("profile");
    this.dialog.addEventListener("click", (click) => {
      if (click.target === this.dialog) this.dialog.close(); // beside the panel
    });
  }

  async open() {
    const user = this.on.user();
    this.#draw(user, el("p", { class: "hint", role: "status" }, "Loading …"));
    if (!this.dialog.open) this.dialog.showModal();
    const here = () => this.dialog.open && this.on.user().id === user.id;
    try {
      const profile = await api.profile(user.id);
      if (here()) this.#draw(user, ...this.#content(user, profile));
    } catch (error) {
      if (!here()) return;
      const token = (value) => {
        this.on.token(value);
        this.open();
      };
      this.#draw(user, failed(error, { retry: () => this.open(), reset: () => this.dialog.close(), token, wait: 0 }));
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
    const titles = new Map(profile.recent.filter((one) => one.item).map((one) => [one.item, one.title ?? one.item]));
    const names = (ids) => ids.map((id) => titles.get(id) ?? id).join(", ");
    return [
      el("p", { class: "lead" }, profile.based_on),
      taste.events ? part("Your taste over time", el("p", { class: "hint" }, `Made of ${taste.events} events. Cosine with the mean of each category:`), near(taste.categories),
        el("p", { class: "hint" }, "Items nearest to it:"), near(taste.items)) : null,
      profile.rating_words ? part("Your ratings in words", el("p", {}, profile.rating_words)) : null,
      profile.not_these.length ? part("Never shown to you", el("p", {}, names(profile.not_these))) : null,
      profile.less_of.length ? part("Less like these", el("p", {}, names(profile.less_of))) : null,
      profile.recent.length ? part(`Newest of ${profile.events} events`, el("ol", { class: "events" }, profile.recent.map(event))) : null,
      el("footer", { class: "panel-foot" },
        button("Pick favourites", () => {
          this.dialog.close();
          this.on.pick();
        }),
        this.#forget(user, profile),
      ),
    ].filter(Boolean);
  }

  /** Two steps, as it cannot be undone. */
  #forget(user, profile) {
    const box = el("div", { class: "forget" });
    const ask = () => {
      const forget = async () => {
        sure.disabled = true;
        try {
          this.on.forgot(await api.forget(user.id));
        } catch (error) {
          const token = (value) => {
            setToken(value);
            forget();
          };
          const way = error.status === 401 ? tokenForm(token) : first();
          box.replaceChildren(el("p", { role: "alert", class: "is-bad" }, `Not forgotten: ${error.message}`), way);
        }
      };
      const sure = button("Yes, forget all of it", forget, { class: "button is-danger", id: "forget-sure" });
      const what = profile.events === 1 ? "the one event" : `all ${profile.events} events`;
      box.replaceChildren(el("p", {}, `Delete ${what} for good?`), el("div", { class: "state-ways" }, sure, button("Keep it", () => {
        box.replaceChildren(first());
        box.querySelector("button").focus();
      })));
      sure.focus();
    };
    const first = () => button("Forget me", ask, { class: "button is-danger-quiet", id: "forget" });
    box.append(first());
    return box;
  }
}
