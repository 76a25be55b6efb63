#!/bin/sh
# Installs what the comparison of servers needs on a Debian machine: nchan, which
# is a module of nginx. (On a machine with an init system, Debian starts the
# nginx that it installs; the comparison starts one of its own.)
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh

if ! command -v nginx >/dev/null || [ ! -e /usr/lib/nginx/modules/ngx_nchan_module.so ]; then
	echo "nginx or its nchan is not there, installing both"
	apt_install nginx libnginx-mod-nchan
fi
on_path nginx taskset
