"""The scripts that the simulator serves: a stand-in for Stripe.js, and what runs in its frames."""

STRIPE_JS = """\
// Stands in for Stripe.js with the simulator: embedded pages, and Payment Elements of a Checkout Session.
"use strict";
(() => {
  const origin = new URL(document.currentScript.src).origin;
  const frame = (path, secret, where) => {
    const element = document.createElement("iframe");
    element.src = `${origin}${path}/${encodeURIComponent(secret)}`;
    element.title = "Payment";
    element.style.cssText = "width: 100%; height: 56rem; border: 0";
    (typeof where === "string" ? document.querySelector(where) : where).append(element);
    return element;
  };
  const listen = (element, act) => {
    const heard = (event) => {
      if (event.origin === origin && event.source === element.contentWindow) act(event.data);
    };
    window.addEventListener("message", heard);
    return () => window.removeEventListener("message", heard);
  };

  async function createEmbeddedCheckoutPage({ fetchClientSecret, onComplete }) {
    const secret = await fetchClientSecret();
    let element, stop;
    return {
      mount(where) {
        element = frame("/c/embed", secret, where);
        stop = listen(element, ({ complete, address }) => {
          if (!complete) return;
          if (address) window.location.assign(address);
          else if (onComplete) onComplete();
        });
      },
      destroy() {
        if (stop) stop();
        if (element) element.remove();
      },
    };
  }

  function initCheckoutElementsSdk({ clientSecret }) {
    const secret = Promise.resolve(clientSecret);
    let element, calls = 0;
    const ask = (call, value) =>
      new Promise((resolve) => {
        const id = ++calls;
        const stop = listen(element, (answer) => {
          if (answer.id !== id) return;
          stop();
          resolve(answer.result);
        });
        element.contentWindow.postMessage({ id, call, value }, origin);
      });
    const actions = {
      getSession: () => ask("session"),
      updateEmail: (email) => ask("email", email),
      updateShippingAddress: (address) => ask("address", address),
      updateShippingOption: (rate) => ask("shipping", rate),
      applyPromotionCode: (code) => ask("code", code),
      async confirm() {
        const result = await ask("confirm");
        if (result.address) window.location.assign(result.address);
        return result;
      },
    };
    return {
      createPaymentElement: () => ({
        async mount(where) {
          element = frame("/c/element", await secret, where);
          await new Promise((resolve) => element.addEventListener("load", resolve, { once: true }));
        },
      }),
      loadActions: async () => ({ type: "success", actions }),
    };
  }

  window.Stripe = () => ({ createEmbeddedCheckoutPage, initCheckoutElementsSdk });
})();
"""

COMPLETE_JS = """\
"use strict";
{
  const { complete, address } = document.querySelector("[data-complete]").dataset;
  window.parent.postMessage({ complete, address }, "*");
}
"""

ELEMENT_JS = """\
"use strict";
window.addEventListener("message", async ({ data: { id, call, value }, source, origin }) => {
  if (source !== window.parent) return;
  const how = document.querySelector("input[name=how]:checked").value;
  const answer = await fetch(window.location.href, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ call, value, how }),
  });
  source.postMessage({ id, result: await answer.json() }, origin);
});
"""

SHOP_JS = """\
"use strict";
{
  const { secret, mode } = document.querySelector("[data-secret]").dataset;
  const stripe = window.Stripe("pk_test_simulated");
  if (mode === "embedded_page") {
    const page = stripe.createEmbeddedCheckoutPage({ fetchClientSecret: async () => secret });
    page.then((checkout) => checkout.mount("#checkout"));
  } else {
    const checkout = stripe.initCheckoutElementsSdk({ clientSecret: secret });
    checkout.createPaymentElement().mount("#checkout");
    document.querySelector("#pay").addEventListener("click", async () => {
      const { actions } = await checkout.loadActions();
      const result = await actions.confirm();
      if (result.type === "error") document.querySelector("[role=alert]").textContent = result.error.message;
    });
  }
}
"""
