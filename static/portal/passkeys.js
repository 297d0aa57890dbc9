// What allauth's passkey scripts leave out: say on the page why the browser did not do it.
"use strict";
(() => {
  const SENTENCES = {
    NotAllowedError: "It was cancelled, took too long, or this device holds no passkey for this portal. Try again.",
    InvalidStateError: "This device already holds a passkey of yours for this portal.",
    NotSupportedError: "This device cannot make such a passkey. Try without “Sign in with it alone”, or another device.",
    SecurityError: "Browsers allow passkeys only under a host name with https, or at localhost.",
  };

  function show(sentence) {
    const notice = document.querySelector("[data-passkey-error]");
    notice.lastElementChild.textContent = sentence;
    notice.hidden = false;
  }

  document.addEventListener("allauth.error", (event) => {
    event.preventDefault();
    const { name, message } = event.detail.exception;
    show(SENTENCES[name] || `The browser could not use a passkey: ${message}`);
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-passkey]")) document.querySelector("[data-passkey-error]").hidden = true;
  });

  // Without a host name or https there is no such interface, and a press of the button would do nothing.
  if (!window.PublicKeyCredential) {
    for (const button of document.querySelectorAll("[data-passkey]")) {
      button.addEventListener("click", (event) => {
        event.preventDefault();
        event.stopImmediatePropagation();
        show(SENTENCES.SecurityError);
      });
    }
  }
})();
