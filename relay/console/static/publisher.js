"use strict";
// What the publisher's pages do beyond console.js.
(() => {
  // Commands name the relay as the reader knows it.
  for (const place of document.querySelectorAll("[data-origin]")) place.textContent = location.origin;

  // A page with a secret came as the answer to a form. To load it again would make another one: it shows the list.
  const once = document.querySelector("[data-shown-once]");
  if (once) history.replaceState(null, "", once.dataset.shownOnce);
})();
