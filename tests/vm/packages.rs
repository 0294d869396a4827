//! Simulated `.run` packages and an hccn_tool: the real ones' flags, output, files and ways to fail, as shell scripts.
//!
//! They act below the directory that is baked in, `""` for the whole machine. `etc/sim-run-mode` there names a fault.

use std::fmt::Write as _;

/// The words and files of HDK packages, 2023 to 2025: installation guides, transcripts, the driver's own scripts.
const COMMON: &str = r#"
LOG="$ROOT/var/log/ascend_seclog/ascend_install.log"
INFO="$ROOT/etc/ascend_install.info"
ASCEND="$ROOT/usr/local/Ascend"
MODE=$(cat "$ROOT/etc/sim-run-mode" 2>/dev/null)
red=$(printf '\033[31m'); green=$(printf '\033[32m'); plain=$(printf '\033[0m')
now() { date '+%Y-%m-%d %H:%M:%S'; }
tell() { echo "[$NAME] [$(now)] $1"; }
log() { echo "[$NAME] [$(now)] $1" >> "$LOG"; }
end() { tell "[INFO]End time: $(now)"; tell "[INFO]End time: $(now)" >> "$LOG"; exit "$1"; }
fail() { log "$1"; tell "$1"; end 1; }
has() { case " $MODE " in *" $1 "*) return 0 ;; esac; return 1; }
keep() { sed -i "/^$1=/d" "$INFO"; echo "$1=$2" >> "$INFO"; }

# makeself's own part.
case "$1" in
--check)
    printf 'Verifying archive integrity...'
    if has "damaged-$KIND"; then
        echo; echo 'Error in SHA256 checksums: 5feceb66 is different from 6b86b273' >&2; exit 2
    fi
    echo '  100%   SHA256 checksums are OK. All good.'; exit 0 ;;
esac
[ $# -gt 0 ] || { echo 'ERR_NO:0x0004;ERR_DES: Unrecognized parameters.'; exit 1; }
echo 'Verifying archive integrity...  100%   SHA256 checksums are OK. All good.'
echo "Uncompressing ASCEND-HDK-NPU $KIND RUN PACKAGE  100%  "
mkdir -p "$ROOT/var/log/ascend_seclog" && touch "$LOG"

full=n upgrade=n uninstall=n version=n quiet=n all=no user= group=
for word in "$@"; do
    case "$word" in
    --full) full=y ;;
    --upgrade) upgrade=y ;;
    --uninstall) uninstall=y ;;
    --version) version=y ;;
    --quiet) quiet=y ;;
    --force) ;;
    --install-for-all) all=yes ;;
    --install-username=*) user=${word#*=} ;;
    --install-usergroup=*) group=${word#*=} ;;
    *) fail "[ERROR]ERR_NO:0x0004;ERR_DES: Unrecognized parameters: $word. Try './xxx.run --help' for more information." ;;
    esac
done
if [ $version = y ]; then echo "$VERSION"; exit 0; fi
tell "[INFO]Start time: $(now)"
tell '[INFO]LogFile: /var/log/ascend_seclog/ascend_install.log'
tell '[INFO]OperationLogFile: /var/log/ascend_seclog/operation.log'
log "[INFO]UserCommand: $0 $*"
if [ $uninstall = y ]; then
    rm -rf "${ASCEND:?}/$KIND"; tell "[INFO]$NAME package uninstalled successfully!"; end 0
fi
[ "$full$upgrade" != nn ] ||
    fail '[ERROR]ERR_NO:0x0004;ERR_DES:param need used with full/run/docker/upgrade/devel.'
has busy && fail '[ERROR]ERR_NO:0x0094;ERR_DES:There is already a process being executed,please do not execute multiple tasks at the same time'
if has asks && [ $quiet = n ]; then
    tell '[INFO]You are going to install a driver package which does not have a matching chip in the environment, do you want to continue? [y/n]'
    while true; do
        read -r yn
        [ "$yn" = y ] && break
        tell '[ERROR]ERR_NO:0x0002;ERR_DES:input error, please input again!'
    done
fi
has "full-$KIND" && fail "[ERROR]free space only 12M, cannot install $KIND package (greater than 1024M), please make sure enough space under the installation path"
tell '[WARNING]Do not power off or restart the system during the installation/upgrade'
"#;

const DRIVER: &str = r#"
[ "$(uname -m)" = "$ARCH" ] || has any-arch || {
    tell "[ERROR]${red}Arch mismatch, src package is $ARCH, cur os is $(uname -m) ${plain}"; end 1
}
has tools && fail '[ERROR]The list of missing tools: lspci,ifconfig,'
old=$(sed -n 's/^UserName=//p' "$INFO" 2>/dev/null)
[ -z "$old" ] || [ "$old" = "$user" ] || [ $upgrade = y ] ||
    fail '[ERROR]ERR_NO:0x0095;ERR_DES:The user and group are not same with last installation,do not support overwriting installation'
grep -q "^$user:" "$ROOT/etc/passwd" || fail "[ERROR]ERR_NO:0x0091;ERR_DES:$user not exists! Please add $user"
grep -q "^$group:" "$ROOT/etc/group" || fail "[ERROR]ERR_NO:0x0091;ERR_DES:$group group not exists! Please add $group group"
tell "[INFO]set username and usergroup, $user:$group"
tell '[INFO]driver install type: DKMS'
tell '[INFO]upgradePercentage:10%'
mkdir -p "$ASCEND/driver/tools"
touch "$INFO"
sed -i '/^Driver_Install_Status=/d' "$INFO"
keep UserName "$user"; keep UserGroup "$group"
keep Driver_Install_Type full; keep Driver_Install_Path_Param /usr/local/Ascend
keep Driver_Install_For_All "$all"; keep Driver_Install_Mode normal
tell '[INFO]upgradePercentage:30%'
has half-driver && { printf 'Version=%s\n' "$VERSION" > "$ASCEND/driver/version.info"; kill -9 $$; }
has hangs && { printf 'Version=%s\n' "$VERSION" > "$ASCEND/driver/version.info"; sync; sleep 900; }
if has dkms; then
    log '[ERROR]make: *** [Makefile:7: davinci] Error 2'
    tell "[ERROR]${red}Dkms install failed, details in : var/log/ascend_seclog/ascend_install.log. ${plain}"
    tell "[ERROR]${red}Driver_ko_install failed, details in : /var/log/ascend_seclog/ascend_install.log. ${plain}"
    exit 1
fi
has lies-driver || printf 'Version=%s\nascendhal_version=7.35.23\naicpu_version=1.0\ntdt_version=1.0\nlog_version=1.0\nprof_version=2.0\ndvppkernels_version=1.1\ntsfw_version=1.0\nInnerversion=V100R001C23SPC002B218\ncompatible_version=[V100R001C19],[V100R001C20],[V100R001C21],[V100R001C23]\ncompatible_version_fw=[%s]\npackage_version=%s\n' "$VERSION" "$FITS" "$VERSION" > "$ASCEND/driver/version.info"
cat > "$ASCEND/driver/tools/hccn_tool" <<'TOOL'
@HCCN@
TOOL
chmod 755 "$ASCEND/driver/tools/hccn_tool"
tell '[INFO]upgradePercentage:90%'
has daemon && { sleep 60 & }
tell '[INFO]Waiting for device startup...'
tell '[INFO]Device startup success'
tell '[INFO]upgradePercentage:100%'
echo 'Driver_Install_Status=complete' >> "$INFO"
tell "[INFO]${green}Driver package installed successfully! The new version takes effect immediately. ${plain}"
end 0
"#;

const FIRMWARE: &str = r#"
[ -e "$ASCEND/driver/version.info" ] ||
    fail '[ERROR]ERR_NO:0x0080;ERR_DES:The driver package is not installed, please install the driver package first'
tell '[INFO]upgradePercentage: 0%'
mkdir -p "$ASCEND/firmware"
has half-firmware && { printf 'Version=%s\n' "$VERSION" > "$ASCEND/firmware/version.info"; kill -9 $$; }
has flash && fail '[ERROR]ERR_NO:0x0090;ERR_DES:Device [3] upgrade failed'
tell '[INFO]upgradePercentage: 100%'
tell '[INFO]The firmware of [8] chips are successfully upgraded.'
touch "$INFO"
keep Firmware_Install_Type full; keep Firmware_Install_Path_Param /usr/local/Ascend
has lies-firmware || printf 'Version=%s\nfirmware_version=1.0\ncompatible_version_drv=[%s]\n' "$VERSION" "$FITS" > "$ASCEND/firmware/version.info"
tell '[INFO]Firmware package installed successfully! Reboot now or after driver installation for the installation/upgrade to take effect.'
end 0
"#;

const HCCN: &str = r#"#!/bin/sh
ROOT='@ROOT@'
CONF="$ROOT/etc/hccn.conf"
value() { sed -n "s/^$1_$card=//p" "$CONF" 2>/dev/null; }
keep() { touch "$CONF"; sed -i "/^$1_$card=/d" "$CONF"; echo "$1_$card=$2" >> "$CONF"; }
[ "$1" = -i ] && card=$2
case "$card" in [0-7]) ;; *) echo 'Hccn tool execution failed. Invalid device id.' >&2; exit 1 ;; esac
deaf=$(cat "$ROOT/etc/sim-run-mode" 2>/dev/null)
case "$3 $4" in
'-ip -g')
    [ -z "$(value address)" ] || printf 'ipaddr:%s\nnetmask:%s\n' "$(value address)" "$(value netmask)" ;;
'-ip -s')
    case "$deaf" in *deaf*) exit 0 ;; esac
    case "$deaf" in *no-link*) echo 'Hccn tool execution failed.' >&2; exit 1 ;; esac
    keep address "$6"; keep netmask "$8" ;;
'-gateway -g')
    [ -z "$(value gateway)" ] || echo "default gateway:$(value gateway), Iface:eth$card" ;;
'-gateway -s') keep gateway "$6" ;;
*) echo 'Unrecognized command.' >&2; exit 1 ;;
esac
"#;

pub fn hccn_tool(root: &str) -> String {
    HCCN.replace("@ROOT@", root)
}

/// `fits`: the firmware that it says it goes with, such as `7.8.0,7.8.99`.
pub fn driver_package(root: &str, version: &str, arch: &str, fits: &str) -> String {
    let body = DRIVER.replace("@HCCN@", hccn_tool(root).trim_end());
    script(root, "driver", "Driver", version, arch, fits) + &body
}

pub fn firmware_package(root: &str, version: &str) -> String {
    script(root, "firmware", "Firmware", version, "", "25.5.0,25.5.99") + FIRMWARE
}

fn script(root: &str, kind: &str, name: &str, version: &str, arch: &str, fits: &str) -> String {
    let mut text = String::from("#!/bin/sh\n");
    for (key, value) in
        [("ROOT", root), ("KIND", kind), ("NAME", name), ("VERSION", version), ("ARCH", arch), ("FITS", fits)]
    {
        let _ = writeln!(text, "{key}='{value}'");
    }
    text + COMMON
}
