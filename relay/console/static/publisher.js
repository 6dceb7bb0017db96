"use strict";
// Additions to console.js for pages about an app.
(() => {
  // Example commands name the address of this relay.
  for (const element of document.querySelectorAll("[data-origin]")) element.textContent = location.origin;

  // A page with a secret is the response to a form. Reloading it must show the list instead of creating another secret.
  const secret = document.querySelector("[data-shown-once]");
  if (secret) history.replaceState(null, "", secret.dataset.shownOnce);
})();
