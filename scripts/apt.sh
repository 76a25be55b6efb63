# Sourced by the scripts that install what is missing.

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# apt_install PACKAGE... fails with a clear line where there is no apt-get.
apt_install() {
	if ! command -v apt-get >/dev/null; then
		echo "install by hand: $*; there is no apt-get here" >&2
		return 1
	fi
	as_root apt-get update -qq
	as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 "$@" >/dev/null
}

# on_path PROGRAM... fails at the first that is not there.
on_path() {
	for program in "$@"; do
		if ! command -v "$program" >/dev/null; then
			echo "the packages put no $program on PATH" >&2
			return 1
		fi
	done
}
