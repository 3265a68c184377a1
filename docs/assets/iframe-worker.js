// Search in pages that are opened from a folder. Browsers start no worker there, so its script runs in a hidden frame,
// which has what a worker has: messages in and out, and importScripts.
if (location.protocol === "file:") {
  const load = (page, address) => new Promise((done, failed) => {
    const script = page.createElement("script");
    script.src = address;
    script.onload = done;
    script.onerror = () => failed(new Error(`${address} cannot be loaded`));
    page.head.append(script);
  });
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inside = frame.contentWindow;
      this.inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", {data}));
      this.inside.importScripts = (...scripts) =>
        scripts.reduce((before, script) => before.then(() => load(frame.contentDocument, script)), Promise.resolve());
      this.ready = load(frame.contentDocument, new URL(address, document.baseURI).href);
    }
    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", {data})));
    }
  };
}
