// Package chromiumtest has tests look at pages in Debian's Chromium, with nothing between but the browser's own protocol.
package chromiumtest
