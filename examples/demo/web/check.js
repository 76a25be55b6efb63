// Check counts what arrived on one channel. The worker numbers its messages, so every hole is seen; a hole is honest if a gap
// event stood in it.
export class Check {
  run = null;
  last = 0;
  received = 0;
  missing = 0;
  covered = 0;
  duplicates = 0;
  gaps = 0;
  gapPending = false;

  gap() {
    this.gaps++;
    this.gapPending = true;
  }

  // see returns how many messages are missing right before this one.
  see(run, n) {
    if (run !== this.run) { // the first message, or the demo was started anew
      this.run = run;
      this.last = n - 1;
    }
    if (n <= this.last) {
      this.duplicates++;
      return 0;
    }
    const hole = n - this.last - 1;
    if (this.gapPending) this.covered += hole; else this.missing += hole;
    this.gapPending = false;
    this.last = n;
    this.received++;
    return hole;
  }

  get ok() { return this.missing === 0 && this.duplicates === 0; }
}
