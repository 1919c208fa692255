// The routes of the app. Every failure is an ApiError; list_states.js decides how it is shown.

export class ApiError extends Error {
  /**
   * @param {number} status 0 if there was no answer
   * @param {string} message one line from the app
   * @param {number} retryAfter seconds; 0 if the app gave none
   * @param {boolean} loading the model server is still starting
   */
  constructor(status, message, retryAfter = 0, loading = false) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
    this.loading = loading;
  }
}

const TOKEN_KEY = "triptych.token";
let token = read("sessionStorage", TOKEN_KEY);

export function setToken(value) {
  token = value.trim();
  try {
    sessionStorage.setItem(TOKEN_KEY, token);
  } catch {
    // Without storage the token lasts as long as the page.
  }
}

/** Reads a value of localStorage or sessionStorage; "" if there is none or storage is blocked. */
export function read(storage, key) {
  try {
    return window[storage].getItem(key) ?? "";
  } catch {
    return "";
  }
}

async function request(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (token) headers.authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "the app does not answer");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  const message = answer?.error ?? `the app answered ${response.status}`;
  throw new ApiError(response.status, message, Number(response.headers.get("retry-after")) || 0, answer?.loading === true);
}

function query(params) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params))
    for (const element of Array.isArray(value) ? value : [value]) search.append(name, String(element));
  return search.toString();
}

export const api = {
  about: () => request("/about"),
  recommend: (params, signal) => request(`/recommend?${query(params)}`, { signal }),
  search: (params, signal) => request(`/search?${query(params)}`, { signal }),
  similar: (item, k, signal) => request(`/similar?${query({ item, k })}`, { signal }),
  picker: (user, k) => request(`/picker?${query({ user, k })}`),
  events: (user, events) => request("/events", { method: "POST", body: { user, events } }),
  profile: (user) => request(`/users/${encodeURIComponent(user)}`),
  forget: (user) => request(`/users/${encodeURIComponent(user)}`, { method: "DELETE" }),
};

/** Random hexadecimal digits; unlike crypto.randomUUID it works on plain http too. */
export function randomId(bytes = 16) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
