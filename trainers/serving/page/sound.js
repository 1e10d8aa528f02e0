// The microphone, recorded and turned into WAV.

const MOST_SECONDS = 60;

// Decodes a recording to a mono 16-bit WAV file, at the rate that the model hears: more would only be sent for nothing.
export async function toWav(blob, rate) {
  const buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await blob.arrayBuffer());
  const channels = Array.from({length: buffer.numberOfChannels}, (_, i) => buffer.getChannelData(i));
  const view = new DataView(new ArrayBuffer(44 + 2 * buffer.length));
  const text = (at, value) => [...value].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * buffer.length, true);
  text(8, "WAVEfmt "); view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * buffer.length, true);
  for (let i = 0; i < buffer.length; i++) {
    let sum = 0;
    for (const channel of channels) sum += channel[i];
    view.setInt16(44 + 2 * i, Math.max(-32768, Math.min(32767, Math.round(32768 * sum / channels.length))), true);
  }
  return new Blob([view.buffer], {type: "audio/wav"});
}

// Records until stop() is called, or for a minute. `tell(seconds, loudness)` is called on the way.
export async function record(tell) {
  // What makes speech clearer would change music.
  const audio = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
  const stream = await navigator.mediaDevices.getUserMedia({audio});
  const context = new AudioContext(), meter = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(meter);
  const recorder = new MediaRecorder(stream), parts = [], samples = new Float32Array(meter.fftSize);
  const began = performance.now();
  const timer = setInterval(() => {
    meter.getFloatTimeDomainData(samples);
    const seconds = (performance.now() - began) / 1000;
    tell(seconds, Math.min(1, 3 * Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length)));
    if (seconds > MOST_SECONDS) stop();
  }, 100);
  const finished = new Promise((resolve, reject) => {
    recorder.ondataavailable = event => parts.push(event.data);
    recorder.onerror = event => reject(event.error);
    recorder.onstop = () => resolve(new Blob(parts, {type: recorder.mimeType}));
  });
  function stop() {
    if (recorder.state === "inactive") return;
    clearInterval(timer);
    recorder.stop();
    stream.getTracks().forEach(track => track.stop());
    context.close();
  }
  recorder.start();
  return {stop, finished};
}
