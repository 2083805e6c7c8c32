// What the user has set, and what each of it means to the engine.

function readSettings() {
  const names = {};
  for (const channel of CHANNEL_NAMES) names[channel] = byId(`name-${channel}`).value;
  return {
    names,
    blackForMissing: byId("black").checked,
    white: positiveNumber(byId("white")),
    pixelSize: positiveNumber(byId("pixel-size")),
  };
}

function positiveNumber(input) {
  const value = input.valueAsNumber;
  return value > 0 && input.checkValidity() ? value : null;
}
