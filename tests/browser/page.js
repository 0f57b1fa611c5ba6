// A phone in a page: JsSIP as its users have it, and a log of what it told. The test calls these functions by name.

import JsSIP from "jssip";

// What the phone told, in order, and how much of it has been asked for.
const told = [];
let asked = 0;
let wake = () => {};

let ua;
let session;

function tell(name, data = {}) {
  const { originator, cause, code, message, response = message } = data;
  told.push({ name, originator, cause, status: response?.status_code, code });
  console.log(`told ${JSON.stringify(told.at(-1))}`);
  wake();
}

// The other page is on this machine, and is told of no way that leaves it.
function loopbackOnly(sdp) {
  const isElsewhere = (line) => line.startsWith("a=candidate:") && line.split(" ")[4] !== "127.0.0.1";
  return sdp.split("\r\n").filter((line) => !isElsewhere(line)).join("\r\n");
}

function watch(begun) {
  session = begun;
  for (const name of ["progress", "accepted", "confirmed", "ended", "failed"]) {
    session.on(name, (data) => tell(name, data));
  }
  session.on("sdp", (data) => {
    if (data.originator === "local") data.sdp = loopbackOnly(data.sdp);
  });
  tell("session", { originator: session.direction });
}

const media = { mediaConstraints: { audio: true, video: false }, pcConfig: { iceServers: [] } };

window.phone = {
  // Connects, and sends a REGISTER when that is done.
  start({ user, password, domain, server, route }) {
    const socket = new JsSIP.WebSocketInterface(server);
    ua = new JsSIP.UA({
      sockets: [socket],
      uri: `sip:${user}@${domain}`,
      password,
      register_expires: 600,
      use_preloaded_route: route,
    });
    for (const name of ["connected", "disconnected", "registered", "unregistered", "registrationFailed"]) {
      ua.on(name, (data) => tell(name, data));
    }
    ua.on("newRTCSession", (data) => watch(data.session));
    ua.start();
  },
  call(target) {
    ua.call(target, media);
  },
  answer() {
    session.answer(media);
  },
  hangUp() {
    session.terminate();
  },
  reject(status) {
    session.terminate({ status_code: status });
  },
  stop() {
    ua.stop();
  },
  // Waits until the phone tells this, among what it has not been asked for yet.
  async told(name) {
    for (;;) {
      while (asked < told.length) {
        const next = told[asked++];
        if (next.name === name) return next;
        if (["failed", "registrationFailed"].includes(next.name)) {
          throw new Error(`not ${name}: ${JSON.stringify(next)}`);
        }
      }
      await new Promise((resolve) => (wake = resolve));
    }
  },
  // Plays what comes, and waits until so many packets have come, and sound in them: the browser's fake microphone beeps.
  async heard(packets) {
    const { connection } = session;
    const sound = new Audio();
    sound.srcObject = new MediaStream(connection.getReceivers().map(({ track }) => track));
    await sound.play();
    for (;;) {
      const stats = [...(await connection.getStats()).values()];
      const heard = stats.find(({ type, kind }) => type === "inbound-rtp" && kind === "audio");
      if (heard?.packetsReceived >= packets && heard.totalAudioEnergy > 0) {
        return { bytes: heard.bytesReceived, energy: heard.totalAudioEnergy };
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  },
};
