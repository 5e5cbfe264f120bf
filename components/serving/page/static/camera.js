// The camera: opened on request, closed with its panel, a photo at a time.

const REASONS = {
  NotAllowedError: "The browser may not use the camera. Allow it in the settings of this page.",
  NotFoundError: "There is no camera.",
  NotReadableError: "The camera is used by another program.",
};
const INSECURE = "Browsers lend a camera only to pages of localhost or behind HTTPS.";
const PHOTO = { type: "image/jpeg", quality: 0.92 };

// onPhoto gets a File, onFault a sentence.
export function cameraOf({ toggle, panel, video, take }, onPhoto, onFault) {
  let stream = null;
  let photos = 0;

  function close() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = video.srcObject = null;
    panel.hidden = take.disabled = true;
    toggle.setAttribute("aria-expanded", "false");
    toggle.textContent = "Use the camera";
  }

  async function open() {
    if (!navigator.mediaDevices) return onFault(INSECURE);
    toggle.disabled = true;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      video.srcObject = stream;
      panel.hidden = false;
      toggle.setAttribute("aria-expanded", "true");
      toggle.textContent = "Close the camera";
      await video.play();
      take.disabled = false;
      onFault("");
    } catch (error) {
      close();
      onFault(REASONS[error.name] || `The camera cannot be used: ${error.message}`);
    } finally {
      toggle.disabled = false;
    }
  }

  function photograph() {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    photos += 1;
    const name = `Photo ${photos}`;
    canvas.toBlob((blob) => onPhoto(new File([blob], name, { type: PHOTO.type })), PHOTO.type, PHOTO.quality);
  }

  toggle.addEventListener("click", () => (stream ? close() : open()));
  take.addEventListener("click", photograph);
  addEventListener("pagehide", close);
  return { close };
}
