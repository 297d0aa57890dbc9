// Everything a page does beyond links and forms. Each part is optional: without this file the pages still work.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  function make(tag, className = "", text = "") {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text) element.textContent = text;
    return element;
  }

  // --- theme -------------------------------------------------------------------------------------------------------

  function showTheme() {
    const current = document.documentElement.dataset.theme || "system";
    for (const button of $$("[data-set-theme]")) {
      button.setAttribute("aria-pressed", String(button.dataset.setTheme === current));
    }
  }

  function setTheme(theme) {
    const root = document.documentElement;
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    try {
      if (theme === "system") localStorage.removeItem("portal-theme");
      else localStorage.setItem("portal-theme", theme);
    } catch {
      // Storage may be forbidden; the choice then lasts for this page.
    }
    showTheme();
  }

  // --- times: the server writes UTC, the reader sees their own zone ----------------------------------------------

  const fullTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const shortTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const clockTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const dayTime = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const relativeTime = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];

  function relative(date) {
    const seconds = Math.round((date - Date.now()) / 1000);
    if (Math.abs(seconds) < 45) return "just now";
    if (Math.abs(seconds) > 30 * 86400) return shortTime.format(date);
    const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) || ["minute", 60];
    const count = Math.trunc(seconds / size) || Math.sign(seconds);
    return relativeTime.format(count, unit);
  }

  function elapsed(date, until) {
    const length = Math.max(0, ((until || Date.now()) - date) / 1000);
    if (until && length < 10) return `${length.toFixed(1)} s`;
    let seconds = Math.floor(length);
    const hours = Math.floor(seconds / 3600);
    const minutes = Math.floor((seconds % 3600) / 60);
    seconds %= 60;
    if (hours) return `${hours} h ${minutes} min`;
    return minutes ? `${minutes} min ${seconds} s` : `${seconds} s`;
  }

  const deadlines = new WeakMap();

  /** Until a time to come, by the seconds that the server counted: the reader's clock may be wrong. */
  function countdown(element) {
    if (!deadlines.has(element)) deadlines.set(element, Date.now() + 1000 * Number(element.dataset.left));
    const seconds = Math.ceil((deadlines.get(element) - Date.now()) / 1000);
    if (seconds <= 0) return "any moment";
    const [days, hours, minutes] = [seconds / 86400, (seconds % 86400) / 3600, (seconds % 3600) / 60].map(Math.floor);
    if (days) return `in ${days} d ${hours} h`;
    if (hours) return `in ${hours} h ${minutes} min`;
    return minutes ? `in ${minutes} min ${seconds % 60} s` : `in ${seconds} s`;
  }

  function showTime(element) {
    const date = new Date(element.dateTime);
    if (Number.isNaN(date.getTime())) return;
    const kind = element.dataset.time;
    let text;
    if (kind === "relative") text = relative(date);
    else if (kind === "countdown") text = countdown(element);
    else if (kind === "elapsed") text = elapsed(date, element.dataset.until && new Date(element.dataset.until));
    else if (kind === "clock") text = date.toDateString() === new Date().toDateString() ? clockTime.format(date) : dayTime.format(date);
    else text = (kind === "full" ? fullTime : shortTime).format(date);
    if (element.textContent !== text) element.textContent = text;
    element.title = fullTime.format(date);
  }

  const showTimes = (root = document) => $$("time[data-time]", root).forEach(showTime);
  setInterval(() => $$('time[data-time="elapsed"], time[data-time="countdown"]').forEach(showTime), 1000);
  setInterval(() => $$('time[data-time="relative"]').forEach(showTime), 20000);

  /** What is typed as a time is meant by the reader's clock; the server is told which that is. */
  function nameZone() {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    for (const input of $$("[data-zone]")) {
      if (zone && !input.value) input.value = zone;
      const name = $("[data-zone-name]", input.form);
      if (name && input.value) name.textContent = input.value;
    }
  }

  // --- toasts ------------------------------------------------------------------------------------------------------

  function armToast(toast) {
    const close = make("button", "button quiet small", "Dismiss");
    close.type = "button";
    close.addEventListener("click", () => toast.remove());
    toast.append(close);
    if (toast.classList.contains("error")) return; // an error stays until it is read
    let timer = setTimeout(() => toast.remove(), 7000);
    toast.addEventListener("pointerenter", () => clearTimeout(timer));
    toast.addEventListener("pointerleave", () => { timer = setTimeout(() => toast.remove(), 3000); });
  }

  function toast(text, level = "info") {
    // An open dialog covers the page, and toasts with it: it has a region of its own.
    const region = $("dialog[open] .toasts") || $("#toasts");
    if (!region || [...region.children].some((child) => child.dataset.text === text)) return;
    const element = make("div", `toast ${level}`);
    element.dataset.text = text;
    element.append(make("div", "", text));
    armToast(element);
    region.append(element);
  }

  function announce(text) {
    const region = $("#announcer");
    if (region) region.textContent = text;
  }

  // --- dialogs: the drawer for forms, and the question before something that cannot be undone ---------------------

  const drawer = $("#drawer-dialog");
  let opener = null;
  const clean = new WeakMap();

  const contents = (form) => new URLSearchParams([...new FormData(form)].filter(([, value]) => typeof value === "string")).toString();
  const dirty = () => $$("form", drawer).some((form) => clean.has(form) && clean.get(form) !== contents(form));

  function openDrawer() {
    if (!drawer.open) {
      opener = document.activeElement;
      drawer.showModal();
    }
    for (const form of $$("form", drawer)) if (!clean.has(form)) clean.set(form, contents(form));
    const first = $('[aria-invalid="true"]', drawer) || $("input:not([type=hidden]), select, textarea", drawer);
    if (first) first.focus();
  }

  function closeDrawer() {
    drawer.close();
    $("#drawer").replaceChildren();
    if (opener && opener.isConnected) opener.focus();
  }

  async function leaveDrawer() {
    if (!dirty() || (await ask({ question: "Discard what you entered?", yes: "Discard", danger: true }))) closeDrawer();
  }

  let answer = null;

  function settle() {
    if (answer) answer($("#confirm-dialog").returnValue === "yes");
    answer = null;
  }

  function ask({ question, title = "", yes = "Continue", danger = false }) {
    const dialog = $("#confirm-dialog");
    settle(); // the close event of the question before may still be on its way, and is not the answer to this one
    $("h2", dialog).textContent = title || question;
    $("p", dialog).textContent = title ? question : "";
    const button = $("[data-answer=yes]", dialog);
    button.textContent = yes;
    button.className = danger ? "button danger-fill" : "button primary";
    dialog.returnValue = "";
    dialog.showModal();
    $("[data-answer=no]", dialog).focus();
    dialog.onclose = () => dialog.open || settle();
    return new Promise((resolve) => {
      answer = resolve;
    });
  }

  // Confirmation comes first of all, before htmx or anything else sees the submission.
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    const button = event.submitter;
    const source = button && button.dataset.confirm ? button : form;
    if (!source.dataset.confirm || form.dataset.confirmed) {
      delete form.dataset.confirmed;
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
    const yes = await ask({
      question: source.dataset.confirm,
      title: source.dataset.confirmTitle,
      yes: source.dataset.confirmYes || (button ? button.textContent.trim() : "Continue"),
      danger: "danger" in source.dataset,
    });
    if (!yes) return;
    // A live refresh may have put a new copy of the form in the page while the question stood.
    const current = form.isConnected ? form : document.getElementById(form.id);
    if (!current) return;
    current.dataset.confirmed = "yes";
    const again = button && button.isConnected && current === form ? button : $("button[type=submit], button:not([type])", current);
    current.requestSubmit(again);
  }, true);

  // A plain form is sent once.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method === "get" || form.hasAttribute("hx-post")) return;
    if (form.hasAttribute("data-download")) return; // the page stays, and may be asked for another file
    if (form.classList.contains("sending")) event.preventDefault();
    else form.classList.add("sending");
  });
  window.addEventListener("pageshow", () => $$("form.sending").forEach((form) => form.classList.remove("sending")));

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-set-theme], [data-close-drawer], [data-copy], [data-answer], [data-add-row], [aria-disabled=true]");
    for (const menu of $$("details.menu[open], details.popover-form[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
    if (!target) return;
    if (target.dataset.setTheme) setTheme(target.dataset.setTheme);
    else if (target.dataset.answer) target.closest("dialog").close(target.dataset.answer);
    else if (target.hasAttribute("data-copy")) copy(target);
    else if (target.hasAttribute("data-add-row")) addRow(target);
    else if (target.getAttribute("aria-disabled") === "true") event.preventDefault();
    else if (target.hasAttribute("data-close-drawer") && drawer && drawer.contains(target)) {
      event.preventDefault();
      leaveDrawer();
    }
  });

  /** One more line of a Django formset: its empty form, with the next number. */
  function addRow(button) {
    const rows = button.closest("[data-rows]");
    const total = $(`[name="${rows.dataset.rows}-TOTAL_FORMS"]`, rows);
    const row = $("template", rows).innerHTML.replaceAll("__prefix__", total.value);
    button.insertAdjacentHTML("beforebegin", row);
    total.value = Number(total.value) + 1;
    $("input, textarea", button.previousElementSibling).focus();
  }

  async function copy(button) {
    const source = button.dataset.copy ? document.getElementById(button.dataset.copy) : button.previousElementSibling;
    try {
      await navigator.clipboard.writeText("value" in source ? source.value : source.textContent.trim());
      const before = button.textContent;
      button.textContent = "Copied";
      announce("Copied");
      setTimeout(() => { button.textContent = before; }, 1600);
    } catch {
      toast("The browser did not allow copying. Select the text and copy it by hand.", "warning");
    }
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      for (const menu of $$("details.menu[open], details.popover-form[open]")) {
        menu.open = false;
        $("summary", menu).focus();
      }
    }
    const typing = event.target.closest("input, select, textarea, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey && !$("dialog[open]")) {
      const filter = $("[data-filter]");
      if (filter) {
        event.preventDefault();
        filter.focus();
        filter.select();
      }
    }
  });

  if (drawer) {
    drawer.addEventListener("cancel", (event) => {
      if (event.target !== drawer) return;
      event.preventDefault();
      leaveDrawer();
    });
    drawer.addEventListener("pointerdown", (event) => {
      if (event.target === drawer && event.clientX < drawer.getBoundingClientRect().left) leaveDrawer();
    });
  }

  // --- the organizations to switch to: with many of them, a filter --------------------------------------------------

  document.addEventListener("input", (event) => {
    if (!event.target.matches("[data-places-filter]")) return;
    const menu = event.target.closest("[data-places]");
    const wanted = event.target.value.trim().toLocaleLowerCase();
    let shown = 0;
    for (const link of $$(".places-list a", menu)) {
      link.hidden = !$(".place-name", link).textContent.toLocaleLowerCase().includes(wanted);
      shown += !link.hidden;
    }
    $("[data-places-none]", menu).hidden = shown > 0;
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches("[data-places-filter]")) return;
    const first = $(".places-list a:not([hidden])", event.target.closest("[data-places]"));
    if (first) first.click();
  });

  document.addEventListener("toggle", (event) => {
    if (!event.target.matches("[data-places][open]")) return;
    const filter = $("[data-places-filter]", event.target);
    if (filter) filter.focus();
    else $("[aria-current]", event.target)?.scrollIntoView({ block: "nearest" });
  }, true);

  // --- htmx: sessions that ended, errors, and what happens after a swap --------------------------------------------

  /** The element that made a request; htmx names another one when that has left the page. */
  const sender = (event) => event.detail.requestConfig.elt;
  const isLive = (element) => Boolean(element && element.closest && element.closest("[data-live]") === element);

  function explain(status) {
    if (status === 0) return "The portal could not be reached. Nothing was lost: check your connection and send it again.";
    if (status === 403) return "You are not allowed to do this any more, or the page is too old. Reload it and try again.";
    if (status === 404) return "This no longer exists. It may have been removed by somebody else; reload the page.";
    if (status === 409) return "Things changed meanwhile. Reload the page to see how they stand now.";
    if (status === 413) return "This is larger than the portal accepts.";
    if (status === 429) return "Too many requests. Wait a minute and send it again.";
    if (status >= 500) return "The portal failed to answer. Nothing you entered was lost: send it again in a moment.";
    return `The portal answered ${status}. Reload the page and try again.`;
  }

  /** The message of one of our error pages or forms, where an answer holds one. */
  function messageIn(html) {
    const page = new DOMParser().parseFromString(html || "", "text/html");
    const element = $("[data-error-message]", page) || $(".errorlist li", page);
    return element ? element.textContent.trim().replace(/\s+/g, " ") : "";
  }

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr } = event.detail;
    const elt = sender(event);
    const login = document.body.dataset.login;
    if (login && xhr.responseURL && new URL(xhr.responseURL).pathname === login) {
      event.detail.shouldSwap = false;
      if (isLive(elt) || elt.tagName === "A") location.reload();
      else toast("Your session has ended. Sign in again in another tab, then send this form once more: it is kept here.", "error");
    }
    if (isLive(elt)) {
      const badge = $("[data-status]", elt);
      elt.dataset.before = badge ? badge.dataset.status : "";
    }
    // What somebody is filling in is not replaced under their hands; it refreshes once they are done. And a list is
    // not replaced while its filter is on the way, whose answer would find its place gone.
    const refreshed = isLive(elt) || elt.matches("[data-live-list]");
    const filtering = elt.matches("[data-live-list]") && $("form.filters.htmx-request");
    if (refreshed && (filtering || $("details.popover-form[open]", elt))) event.detail.shouldSwap = false;
  });

  document.addEventListener("toggle", (event) => {
    const live = event.target.matches("details.popover-form:not([open])") && event.target.closest("[data-live], [data-live-list]");
    if (live) htmx.trigger(live, "refresh");
  }, true);

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (drawer && drawer.contains(event.target)) $(".toasts", drawer).replaceChildren();
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    showTimes(); // before the next paint, so that no time is seen in UTC first
    if (event.detail.target && event.detail.target.id === "drawer") openDrawer();
  });

  document.addEventListener("htmx:load", (event) => {
    const root = event.detail.elt;
    startLogs(root);
    startUploads(root);
    if (drawer && drawer.open && drawer.contains(root)) openDrawer();
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    const elt = sender(event);
    if (!isLive(elt) || !event.detail.successful) return;
    const fresh = document.getElementById(elt.id);
    const badge = fresh && $("[data-status]", fresh);
    const before = elt.dataset.before;
    if (badge && before && badge.dataset.status !== before && fresh.dataset.name) {
      announce(`${fresh.dataset.name} is now ${badge.dataset.status.toLowerCase()}`);
    }
    connection(true);
  });

  document.addEventListener("htmx:responseError", (event) => {
    const { xhr } = event.detail;
    const elt = sender(event);
    if (isLive(elt)) {
      const list = elt.closest("[data-live-list]");
      if (xhr.status === 404 && list) htmx.trigger(list, "refresh");
      else if (xhr.status === 404 && elt.dataset.gone) location.assign(elt.dataset.gone);
      else if (xhr.status >= 500) connection(false);
    } else toast(messageIn(xhr.responseText) || explain(xhr.status), "error");
  });
  document.addEventListener("htmx:sendError", (event) => {
    if (isLive(sender(event))) connection(false);
    else toast(explain(0), "error");
  });
  document.addEventListener("htmx:timeout", () => toast(explain(0), "error"));

  // --- live pages: one stream of names of changed things, each of which refreshes itself --------------------------

  let stream = null;
  let retry = 1000;
  let missed = false;
  const due = new Map();

  function connection(up) {
    const bar = $("#connection");
    if (bar) bar.hidden = up;
  }

  function show(key) {
    const elements = $$("[data-live]").filter((element) => element.dataset.live === key);
    elements.forEach((element) => htmx.trigger(element, "refresh"));
    const list = $("[data-live-list]");
    if (!elements.length && list && key.startsWith(`${list.dataset.liveList}-`)) htmx.trigger(list, "refresh");
  }

  // The first change shows at once; those that follow within a moment are shown together.
  function refresh(key) {
    if (due.has(key)) {
      due.set(key, true);
      return;
    }
    due.set(key, false);
    show(key);
    setTimeout(() => {
      const again = due.get(key);
      due.delete(key);
      if (again) refresh(key);
    }, 150);
  }

  const refreshAll = () => $$("[data-live], [data-live-list]").forEach((element) => htmx.trigger(element, "refresh"));

  function listen() {
    const source = $("[data-events]");
    if (!source || stream || document.hidden) return;
    stream = new EventSource(source.dataset.events);
    stream.addEventListener("open", () => {
      retry = 1000;
      connection(true);
      if (missed) refreshAll(); // what changed while nobody listened
      missed = false;
    });
    stream.addEventListener("changed", (event) => refresh(event.data.trim()));
    stream.addEventListener("error", () => {
      missed = true;
      if (stream && stream.readyState === EventSource.CLOSED) {
        stream = null;
        setTimeout(listen, retry);
        retry = Math.min(retry * 2, 30000);
      }
      if (retry > 4000) connection(false);
    });
  }

  function stopListening() {
    if (stream) stream.close();
    stream = null;
    missed = true;
  }

  // A browser allows few connections to one host: hidden tabs give theirs back.
  document.addEventListener("visibilitychange", () => (document.hidden ? stopListening() : listen()));
  window.addEventListener("pagehide", stopListening);

  // --- logs ---------------------------------------------------------------------------------------------------------

  const LOG_TAIL = 262144; // bytes of an old log to begin with
  const LOG_KEPT = 2000000; // characters kept in the page
  const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

  /** Turns terminal output into text nodes and spans; what is not colour is left out. Never makes HTML from text. */
  class Terminal {
    constructor(target) {
      this.target = target;
      this.style = new Set();
      this.rest = "";
      this.length = 0;
    }

    write(text) {
      text = (this.rest + text).replace(/\r\n/g, "\n");
      const open = /\x1b(?:\[[0-9;?]*|\][^\x07\x1b]*)?$|\r$/.exec(text); // an escape or a line's end cut in two
      this.rest = open && open[0].length < 200 ? open[0] : "";
      if (this.rest) text = text.slice(0, -this.rest.length);
      text = text.replace(/[^\n]*\r/g, ""); // a progress bar: only the last writing of a line is kept
      const pieces = text.split(/\x1b\[([0-9;?]*[A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[()][A-Z0-9]|\x1b./);
      const fragment = document.createDocumentFragment();
      pieces.forEach((piece, index) => {
        if (index % 2) this.control(piece);
        else if (piece) fragment.append(this.text(piece));
      });
      if (fragment.childNodes.length) {
        const chunk = make("span");
        chunk.append(fragment);
        this.target.append(chunk);
        this.length += chunk.textContent.length;
        while (this.length > LOG_KEPT && this.target.children.length > 1) {
          const oldest = this.target.firstElementChild;
          this.length -= oldest.textContent.length;
          oldest.remove();
          this.cut = true;
        }
      }
    }

    text(piece) {
      const plain = piece.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, "");
      if (!this.style.size) return document.createTextNode(plain);
      const span = make("span", [...this.style].map((name) => `ansi-${name}`).join(" "));
      span.textContent = plain;
      return span;
    }

    control(code) {
      if (!code || !code.endsWith("m")) return;
      for (const number of code.slice(0, -1).split(";").map(Number)) {
        if (number === 0) this.style.clear();
        else if (number === 38 || number === 48) break; // palettes of 256 colours have no place in two themes
        else if (number === 1) this.style.add("bold");
        else if (number === 2) this.style.add("dim");
        else if (number === 3) this.style.add("italic");
        else if (number === 4) this.style.add("underline");
        else if (number === 22) ["bold", "dim"].forEach((name) => this.style.delete(name));
        else if (number === 23) this.style.delete("italic");
        else if (number === 24) this.style.delete("underline");
        else if ((number >= 30 && number <= 37) || (number >= 90 && number <= 97) || number === 39) {
          COLOURS.forEach((name) => this.style.delete(name));
          if (number !== 39) this.style.add(COLOURS[number % 10]);
        }
      }
    }
  }

  function startLog(viewer) {
    const output = $(".log", viewer);
    const note = $("[data-log-note]", viewer);
    const follow = $("[data-log-follow]", viewer);
    const wrap = $("[data-log-wrap]", viewer);
    const tabs = $$("[role=tab]", viewer);
    const download = $("[data-log-download]", viewer);
    let following = true;
    let turn = 0;

    const pressed = (button, on) => button && button.setAttribute("aria-pressed", String(on));
    const toEnd = () => { output.scrollTop = output.scrollHeight; };
    const say = (text) => {
      if (note.textContent !== text) note.textContent = text;
      output.dataset.note = text;
    };

    async function read(name) {
      const mine = ++turn;
      const terminal = new Terminal(output);
      const decoder = new TextDecoder();
      const address = new URL(viewer.dataset.log, location.href);
      let offset = -LOG_TAIL; // counted from the end
      let wait = 1000;
      let first = true;
      let attempt;
      while (mine === turn && viewer.isConnected) {
        if (document.hidden) {
          await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
          continue;
        }
        address.searchParams.set("stream", name);
        address.searchParams.set("offset", offset);
        try {
          const answer = await fetch(address, { headers: { Accept: "text/plain" }, cache: "no-store" });
          if (!answer.ok || answer.redirected) throw Object.assign(new Error(), { status: answer.redirected ? 401 : answer.status });
          const bytes = await answer.arrayBuffer();
          if (mine !== turn) return;
          const complete = ["1", "true", "yes"].includes((answer.headers.get("X-Log-Complete") || "").toLowerCase());
          const next = Number(answer.headers.get("X-Next-Offset"));
          const whose = Number(answer.headers.get("X-Log-Attempt"));
          if (attempt && whose !== attempt) return read(name); // the next attempt has begun: its log, from the start
          attempt = whose;
          if (first) {
            output.replaceChildren();
            terminal.cut = next - bytes.byteLength > 0;
            first = false;
          }
          if (bytes.byteLength) {
            terminal.write(decoder.decode(bytes, { stream: true }));
            if (following) toEnd();
          }
          const more = bytes.byteLength > 0 && next > offset;
          offset = next;
          const earlier = (attempt > 1 ? `Attempt ${attempt}. ` : "") + (terminal.cut ? "Showing the end of a long log; the download has all of it. " : "");
          if (complete) {
            say(earlier + (terminal.length ? "Complete." : `Nothing was written to ${name}.`));
            return;
          }
          say(earlier + (terminal.length ? "Live." : "Waiting for output…"));
          wait = more ? (bytes.byteLength > 60000 ? 50 : 1000) : Math.min(wait * 1.3, 4000);
        } catch (error) {
          if (error.status === 401) return say("Your session has ended. Reload the page to sign in again.");
          if (error.status === 404 || error.status === 403) return say("The log is not there: the run may have been removed.");
          say("The log cannot be read now; trying again.");
          wait = Math.min(wait * 2, 15000);
        }
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }

    function choose(tab, focus) {
      tabs.forEach((other) => {
        other.setAttribute("aria-selected", String(other === tab));
        other.tabIndex = other === tab ? 0 : -1;
      });
      output.setAttribute("aria-labelledby", tab.id);
      if (download) download.href = tab.dataset.download;
      if (focus) tab.focus();
      read(tab.dataset.stream);
    }

    function setFollowing(on) {
      following = on;
      pressed(follow, on);
      if (on) toEnd();
    }

    const searching = $("[data-log-search]", viewer);
    const matches = $("[data-log-matches]", viewer);
    let query = 0;

    async function search(text) {
      const mine = ++query;
      matches.hidden = !text;
      if (!text) return;
      const address = new URL(viewer.dataset.logSearchUrl, location.href);
      address.searchParams.set("stream", tabs.find((tab) => tab.getAttribute("aria-selected") === "true").dataset.stream);
      address.searchParams.set("q", text);
      const list = make("ol", "log-lines");
      const state = make("p", "muted", "Searching…");
      matches.replaceChildren(state, list);
      let next = 0;
      while (next !== undefined && list.childElementCount < 500) {
        address.searchParams.set("offset", next);
        let found;
        try {
          const answer = await fetch(address, { headers: { Accept: "application/json" }, cache: "no-store" });
          if (!answer.ok || answer.redirected) throw new Error();
          found = await answer.json();
        } catch {
          if (mine === query) state.textContent = "The log cannot be searched now. Try again.";
          return;
        }
        if (mine !== query) return;
        for (const line of found.lines) list.append(make("li", "", line.text));
        next = found.next;
        const part = next === undefined ? "" : `, ${Math.floor((100 * next) / found.size)} % searched`;
        state.textContent = `${list.childElementCount || "No"} line${list.childElementCount === 1 ? "" : "s"}${part}`;
      }
      if (next !== undefined) state.textContent = `The first ${list.childElementCount} lines. Search for something rarer, or download the log.`;
    }

    if (searching) {
      const input = $("input", searching);
      searching.addEventListener("submit", (event) => {
        event.preventDefault();
        search(input.value.trim());
      });
      input.addEventListener("search", () => search(input.value.trim()));
      input.addEventListener("input", () => { if (!input.value) search(""); });
    }

    tabs.forEach((tab, index) => {
      tab.addEventListener("click", () => choose(tab));
      tab.addEventListener("keydown", (event) => {
        const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (move) choose(tabs[(index + move + tabs.length) % tabs.length], true);
      });
    });
    if (follow) follow.addEventListener("click", () => setFollowing(!following));
    if (wrap) wrap.addEventListener("click", () => pressed(wrap, output.classList.toggle("wrap")));
    output.addEventListener("scroll", () => {
      const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 24;
      if (atEnd !== following) {
        following = atEnd;
        pressed(follow, atEnd);
      }
    }, { passive: true });
    choose(tabs.find((tab) => tab.getAttribute("aria-selected") === "true") || tabs[0]);
  }

  const started = new WeakSet();
  function once(elements, start) {
    for (const element of elements) {
      if (!started.has(element)) {
        started.add(element);
        start(element);
      }
    }
  }
  const startLogs = (root = document) => once($$("[data-log]", root), startLog);

  // --- uploads: one request for each file, with its progress --------------------------------------------------------

  function send(form, file, item) {
    const bar = $("progress", item);
    const state = $("[data-state]", item);
    return new Promise((resolve) => {
      const data = new FormData(form);
      data.delete("file");
      data.append("file", file, file.name);
      const request = new XMLHttpRequest();
      const fail = (text) => {
        item.classList.add("failed");
        state.textContent = text;
        bar.remove();
        resolve(false);
      };
      request.open("POST", form.action);
      request.setRequestHeader("X-Requested-With", "XMLHttpRequest");
      request.upload.addEventListener("progress", (event) => {
        if (!event.lengthComputable) return;
        bar.max = event.total;
        bar.value = event.loaded;
        state.textContent = event.loaded < event.total ? `${Math.floor((100 * event.loaded) / event.total)} %` : "Saving…";
      });
      request.addEventListener("load", () => {
        if (request.status >= 200 && request.status < 300) {
          state.textContent = "Done";
          bar.value = bar.max;
          resolve(true);
        } else fail(messageIn(request.responseText) || explain(request.status));
      });
      request.addEventListener("error", () => fail(explain(0)));
      request.addEventListener("abort", () => fail("Stopped."));
      request.send(data);
    });
  }

  function startUpload(form) {
    const input = $("input[type=file]", form);
    const list = $("[data-upload-list]", form);
    let busy = false;

    async function upload(files) {
      if (!files.length || busy) return;
      busy = true;
      list.replaceChildren();
      const items = files.map((file) => {
        const item = make("li", "upload-item");
        const bar = make("progress");
        bar.max = 1;
        bar.value = 0;
        bar.setAttribute("aria-label", `Upload of ${file.name}`);
        const state = make("span", "muted", "Waiting");
        state.dataset.state = "";
        item.append(make("span", "", file.name), state, bar);
        list.append(item);
        return item;
      });
      let good = 0;
      for (const [index, file] of files.entries()) if (await send(form, file, items[index])) good += 1;
      busy = false;
      input.value = "";
      announce(`${good} of ${files.length} files uploaded`);
      if (good) htmx.trigger("#results", "refresh");
    }

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      event.stopPropagation();
      if (input.files.length) upload([...input.files]);
      else input.click();
    });
    input.addEventListener("change", () => upload([...input.files]));
    for (const name of ["dragenter", "dragover"]) {
      form.addEventListener(name, (event) => {
        event.preventDefault();
        form.classList.add("over");
      });
    }
    for (const name of ["dragleave", "drop"]) form.addEventListener(name, () => form.classList.remove("over"));
    form.addEventListener("drop", (event) => {
      event.preventDefault();
      upload([...event.dataTransfer.files].filter((file) => file.size || file.type));
    });
    window.addEventListener("beforeunload", (event) => { if (busy) event.preventDefault(); });
  }

  const startUploads = (root = document) => once($$("form[data-upload]", root), startUpload);

  // --- start --------------------------------------------------------------------------------------------------------

  showTheme();
  showTimes();
  nameZone();
  $$("#toasts .toast").forEach(armToast);
  startLogs();
  startUploads();
  listen();
})();
