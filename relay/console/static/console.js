"use strict";
// Copy buttons, keyboard shortcuts, local times, and messages for failed htmx requests.
(() => {
  const isEditable = (element) => element.matches("input, textarea, select, [contenteditable]");

  const showMessage = (text, kind) => {
    const message = document.createElement("p");
    message.className = `message ${kind}`;
    message.textContent = text;
    document.getElementById("messages").replaceChildren(message);
  };

  // --- copy buttons: <button data-copy="id of the element to copy"> ---

  const copyText = async (button) => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {  // no permission, or no https: select the text for the reader
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
  };

  // --- keyboard: "/" focuses the search, "g" and a letter follow the link with that data-jump, "?" lists the shortcuts ---

  const JUMP_MILLISECONDS = 1500;  // between "g" and the letter
  let jumpStartedAt = 0;

  const showShortcuts = () => {
    const dialog = document.getElementById("keys");
    if (!dialog) return;
    const list = dialog.querySelector("dl");
    for (const link of list.dataset.filled ? [] : document.querySelectorAll("a[data-jump]")) {
      const [keys, text] = [document.createElement("dt"), document.createElement("dd")];
      for (const letter of ["g", link.dataset.jump]) {
        const key = document.createElement("kbd");
        key.textContent = letter;
        keys.append(key, " ");
      }
      text.textContent = link.textContent;
      list.append(keys, text);
    }
    list.dataset.filled = "yes";
    if (!dialog.open) dialog.showModal();
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isEditable(event.target)) return;
    if (event.key === "?") {
      showShortcuts();
    } else if (event.key === "/") {
      const search = document.querySelector("[data-search]");
      if (!search) return;
      event.preventDefault();
      search.focus();
    } else if (event.key === "g") {
      jumpStartedAt = event.timeStamp;
    } else if (event.timeStamp - jumpStartedAt < JUMP_MILLISECONDS) {
      jumpStartedAt = 0;
      // The last link: those of an app come after those of the console, and take precedence.
      [...document.querySelectorAll(`a[data-jump="${CSS.escape(event.key)}"]`)].pop()?.click();
    }
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy], [data-keys]");
    if (button?.dataset.copy) copyText(button);
    else if (button) showShortcuts();
  });

  // --- buttons are disabled once pressed, so that a form is sent once ---

  document.addEventListener("submit", (event) => {
    if (event.target.matches("[hx-post]")) return;
    const button = event.submitter;
    setTimeout(() => { if (button && !event.defaultPrevented) button.disabled = true; });
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) document.querySelectorAll("button:disabled").forEach((button) => { button.disabled = false; });
  });

  // --- times in the reader's time zone, as tooltips ---

  const localiseTimes = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(time.dateTime);
      if (!Number.isNaN(moment.valueOf())) time.title = `${moment.toLocaleString()} (${time.dateTime})`;
    }
  };
  localiseTimes(document);
  document.addEventListener("htmx:load", (event) => localiseTimes(event.detail.elt));

  // --- failed htmx requests ---

  document.addEventListener("htmx:responseError", (event) => {
    const page = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
    showMessage(page.querySelector("main p:not(.message)")?.textContent ?? "The relay refused this request.", "bad");
  });
  document.addEventListener("htmx:sendError", () => showMessage("The relay does not answer. This page may be out of date.", "bad"));
})();
