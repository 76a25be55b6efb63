// Package browsers runs Debian's Chromium and Firefox for the tests of packages beside it, which open tabs in them.
//
//	chromium, err := browsers.OneChromium()
//	err = chromium.Open("tab-1", "http://127.0.0.1:8088/")
//
// scripts/install-browsers.sh installs them, and the driver of Chromium, which is browsertest's.
package browsers
