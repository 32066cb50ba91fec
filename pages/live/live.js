"use strict";
// Puts what the server sends into its place, counts the seconds, and says what a reader must know.
(() => {
  const SILENT = 40e3; // milliseconds without a word after which the connection is taken for dead
  const AGAIN = 3e3; // until the next try where the browser does not try by itself
  const SAY_EVERY = 60e3; // new figures are said aloud no more often
  const TITLE = document.title;
  const script = document.currentScript;
  const at = (id) => document.getElementById(id);
  let seen = script.dataset.seen; // which state is shown
  let ahead = Number(script.dataset.clock) - Date.now(); // the server's clock, less this one
  let heard = Date.now();
  let tried = 0; // when it was last asked
  let source = null;
  let trouble = ""; // why nothing comes
  let waiting = null; // what came while the page is paused
  let pausedAt = 0;
  let toSay = "", saidLast = script.dataset.say, saidAt = Date.now();

  function ago(since) {
    const seconds = Math.max(0, Math.round((Date.now() + ahead - since) / 1000));
    if (seconds < 600) return `${seconds} s ago`;
    if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
    return `${Math.floor(seconds / 86400)} days ago`;
  }

  const utc = (since) => new Date(since).toISOString().slice(11, 19) + " UTC";

  // Each second: also what the server does not say is news.
  function tick() {
    const silent = Date.now() - Math.max(heard, tried) > SILENT;
    if (silent && !document.hidden) lost(trouble || undefined);
    if (toSay && Date.now() - saidAt >= SAY_EVERY) say(toSay);
    count();
  }

  function count() {
    for (const found of document.querySelectorAll(".ago")) {
      const text = `(${ago(Number(found.dataset.since))})`;
      if (found.textContent !== text) found.textContent = text;
    }
    let words = "";
    if (trouble) {
      const since = heard + ahead;
      words = `Not updated since ${utc(since)}, ${ago(since)}: ${trouble}`;
    } else if (waiting) {
      const newer = Object.keys(waiting).length ? " There are newer figures." : "";
      words = `Paused since ${utc(pausedAt)}, ${ago(pausedAt)}.${newer}`;
    }
    const notice = at("connection");
    if (notice.textContent !== words) notice.textContent = words;
    notice.hidden = !words;
    const title = trouble ? `Not updated: ${TITLE}` : TITLE;
    if (document.title !== title) document.title = title;
  }

  function say(words) {
    at("said").textContent = words;
    saidAt = Date.now();
    toSay = "";
  }

  function fill(parts) {
    for (const [id, html] of Object.entries(parts)) {
      const place = at(id);
      if (!place) continue;
      const isFocused = place !== document.activeElement && place.contains(document.activeElement);
      const before = marked(place).map(([, text]) => text);
      place.innerHTML = html;
      if (isFocused) place.querySelector("[tabindex]")?.focus();
      const isList = id === "orders-table";
      marked(place).forEach(([found, text], n) => {
        const isNew = isList ? !before.includes(text) : before[n] !== text;
        if (isNew && before.length) found.classList.add("changed");
      });
    }
  }

  // What is marked for a moment when it is new: the large numbers, and orders.
  function marked(place) {
    const found = place.querySelectorAll("#cards .value, #orders-table tbody tr");
    return [...found].map((one) => [one, one.matches("tr") ? one.cells[0].textContent : one.textContent]);
  }

  function receive(event) {
    const news = JSON.parse(event.data);
    heard = Date.now();
    ahead = news.clock - heard;
    if (event.lastEventId) seen = event.lastEventId;
    if (trouble) {
      trouble = "";
      say("The page is updated again.");
    }
    if (waiting) Object.assign(waiting, news.parts);
    else fill(news.parts);
    if (news.say && news.say !== saidLast && at("aloud").checked && !waiting) toSay = news.say;
    if (news.say) saidLast = news.say;
    count();
  }

  function lost(why = "the watch does not answer. The page tries again by itself.") {
    if (!trouble) say("The figures are not updated any more.");
    trouble = why;
    // Where the browser has given up, or waits for a server that is silent.
    if (!source || source.readyState === EventSource.CLOSED || Date.now() - heard > SILENT) {
      source?.close();
      source = null;
      tried = Date.now();
      setTimeout(() => source ?? connect(), AGAIN);
    }
    count();
  }

  function connect() {
    if (document.hidden) return;
    source?.close();
    tried = Date.now();
    source = new EventSource(`events?seen=${encodeURIComponent(seen)}`);
    source.onmessage = receive;
    source.onerror = () => lost(trouble || undefined);
    source.addEventListener("stopped", () => {
      heard = Date.now();
      lost("the watch was stopped. The page goes on when it runs again.");
    });
  }

  at("pause").addEventListener("click", () => {
    const news = waiting;
    waiting = news ? null : {};
    pausedAt = Date.now() + ahead;
    at("pause").setAttribute("aria-pressed", String(!news));
    if (news) fill(news);
    count();
  });
  at("aloud").addEventListener("change", () => { toSay = ""; });
  // A browser has few connections to one server: a page that nobody sees gives its own back.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      source?.close();
      source = null;
    } else {
      if (!trouble) heard = Date.now();
      connect();
    }
  });
  setInterval(tick, 1000);
  tick();
  connect();
})();
