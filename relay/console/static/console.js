"use strict";
// What pages do beyond HTML and htmx: copy buttons, the keyboard, times in the reader's zone, and errors of htmx.
(() => {
  const typing = (element) => element.matches("input, textarea, select, [contenteditable]");

  const say = (text, kind) => {
    const line = document.createElement("p");
    line.className = `message ${kind}`;
    line.textContent = text;
    document.getElementById("messages").replaceChildren(line);
  };

  // --- copy buttons: <button data-copy="id of what is copied"> ---

  const copy = async (button) => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {  // not allowed, or no https: let the reader do it
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
  };

  // --- keyboard: "/" searches, "g" and a letter jumps to the link with data-jump, "?" lists them ---

  let jumping = 0;

  const listKeys = () => {
    const dialog = document.getElementById("keys");
    if (!dialog) return;
    const list = dialog.querySelector("dl");
    for (const link of list.dataset.filled ? [] : document.querySelectorAll("a[data-jump]")) {
      const [key, text] = [document.createElement("dt"), document.createElement("dd")];
      for (const letter of ["g", link.dataset.jump]) {
        const shown = document.createElement("kbd");
        shown.textContent = letter;
        key.append(shown, " ");
      }
      text.textContent = link.textContent;
      list.append(key, text);
    }
    list.dataset.filled = "yes";
    if (!dialog.open) dialog.showModal();
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || typing(event.target)) return;
    if (event.key === "?") {
      listKeys();
    } else if (event.key === "/") {
      const search = document.querySelector("[data-search]");
      if (!search) return;
      event.preventDefault();
      search.focus();
    } else if (event.key === "g") {
      jumping = event.timeStamp;
    } else if (event.timeStamp - jumping < 1500) {
      jumping = 0;
      // The last one: a page's own links are more than those of the whole console.
      [...document.querySelectorAll(`a[data-jump="${CSS.escape(event.key)}"]`)].pop()?.click();
    }
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy], [data-keys]");
    if (button?.dataset.copy) copy(button);
    else if (button) listKeys();
  });

  // --- forms are sent once ---

  document.addEventListener("submit", (event) => {
    if (event.target.matches("[hx-post]")) return;
    const button = event.submitter;
    setTimeout(() => { if (button && !event.defaultPrevented) button.disabled = true; });
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) document.querySelectorAll("button:disabled").forEach((button) => { button.disabled = false; });
  });

  // --- times in the reader's zone ---

  const localTimes = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(time.dateTime);
      if (!Number.isNaN(moment.valueOf())) time.title = `${moment.toLocaleString()} (${time.dateTime})`;
    }
  };
  localTimes(document);
  document.addEventListener("htmx:load", (event) => localTimes(event.detail.elt));

  // --- htmx ---

  document.addEventListener("htmx:responseError", (event) => {
    const page = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
    say(page.querySelector("main p:not(.message)")?.textContent ?? "The relay refused this.", "bad");
  });
  document.addEventListener("htmx:sendError", () => say("The relay does not answer. What you see may be old.", "bad"));
})();
