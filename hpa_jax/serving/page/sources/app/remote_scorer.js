// Scores by asking the server that the page came from; pictures are made here.

class RemoteScorer {
  constructor(engine, description) {
    this.engine = engine;
    this.description = description;
    this.token = "";
  }

  async score(entries, settings) {
    throw new FieldRefused("not yet");
  }
}
