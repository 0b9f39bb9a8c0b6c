//! `cairn systemd-unit`: a unit that keeps the scheduler going.

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;

/// Options of `cairn systemd-unit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The unit runs `cairn run` as root, with no more rights than reading disks and writing vaults takes. Where the vault or the places
that clones are kept in lie outside of those that it may write to, add them with ReadWritePaths= in a drop-in (systemctl edit cairn).
The secret that opens the vault comes as a credential, readable by nobody else.

Examples:
  cairn systemd-unit --passphrase-credential /etc/cairn/passphrase > /etc/systemd/system/cairn.service
  systemctl daemon-reload && systemctl enable --now cairn
  systemctl reload cairn                (after `cairn machine` or `cairn policy` changed something)")]
pub(crate) struct SystemdUnitArgs {
    /// The file with the passphrase, handed over as a credential of systemd
    #[arg(long, value_name = "FILE")]
    passphrase_credential: Option<String>,

    /// Jobs that may run at once
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: u32,
}

/// Prints it.
pub(crate) fn run(context: &Context, args: &SystemdUnitArgs) -> anyhow::Result<Exit> {
    let program = std::env::current_exe()?;
    let program = program.to_str().ok_or_else(|| usage("the program's path is not UTF-8, which no unit can hold"))?;
    let vault = context.vault_location()?;
    let vault = if vault.contains("://") { vault } else { std::path::absolute(&vault)?.to_string_lossy().into_owned() };
    context.output.text(&unit(program, &vault, args.passphrase_credential.as_deref(), args.jobs)?)?;
    Ok(Exit::Done)
}

fn unit(program: &str, vault: &str, credential: Option<&str>, jobs: u32) -> anyhow::Result<String> {
    let secret = match credential {
        Some(path) => {
            format!("LoadCredential=passphrase:{}\nEnvironment=CAIRN_PASSPHRASE_FILE=%d/passphrase\n", quoted(path)?.trim_matches('"'))
        }
        None => String::new(),
    };
    let writable = if vault.contains("://") { String::new() } else { format!("ReadWritePaths={}\n", quoted(vault)?) };
    Ok(format!(
        "\
[Unit]
Description=Cairn: backups of this host's machines by their policies
Documentation=man:cairn-run(1)
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
ExecStart={program} run --jobs {jobs}
ExecReload=/bin/kill -HUP $MAINPID
Environment={vault_variable}
{secret}Restart=on-failure
RestartSec=30
WatchdogSec=120
# The scheduler ends its jobs cleanly; what has not ended then is ended.
KillMode=mixed
TimeoutStopSec=90
Nice=10
IOSchedulingClass=best-effort
IOSchedulingPriority=7

StateDirectory=cairn
CacheDirectory=cairn
ConfigurationDirectory=cairn
{writable}UMask=0077
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=true
ProtectKernelTunables=true
ProtectKernelModules=true
ProtectKernelLogs=true
ProtectControlGroups=true
ProtectClock=true
ProtectHostname=true
ProtectProc=invisible
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
LockPersonality=true
MemoryDenyWriteExecute=true
NoNewPrivileges=true
SystemCallArchitectures=native
SystemCallFilter=@system-service @mount
# Reading disks and images of others, and freezing filesystems.
CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_SYS_ADMIN CAP_IPC_LOCK CAP_KILL

[Install]
WantedBy=multi-user.target
",
        program = quoted(program)?,
        vault_variable = quoted(&format!("CAIRN_VAULT={vault}"))?,
    ))
}

/// A word of a unit: in quotes where it must be, its percent signs doubled, as systemd.syntax(7) and systemd.service(5) have it.
fn quoted(word: &str) -> anyhow::Result<String> {
    if word.chars().any(char::is_control) {
        return Err(usage(format!("'{}' has control characters, which no unit can hold", word.escape_debug())));
    }
    let escaped = word.replace('%', "%%").replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$");
    let is_plain = word.chars().all(|character| character.is_ascii_alphanumeric() || "/._-=:@+,".contains(character));
    Ok(if is_plain { escaped } else { format!("\"{escaped}\"") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_names_the_program_the_vault_and_the_secret() {
        let text = unit("/usr/bin/cairn", "/srv/my vault", Some("/etc/cairn/passphrase"), 2).unwrap();
        for line in [
            "ExecStart=/usr/bin/cairn run --jobs 2",
            "Environment=\"CAIRN_VAULT=/srv/my vault\"",
            "ReadWritePaths=\"/srv/my vault\"",
            "LoadCredential=passphrase:/etc/cairn/passphrase",
            "Environment=CAIRN_PASSPHRASE_FILE=%d/passphrase",
            "Type=notify",
            "ExecReload=/bin/kill -HUP $MAINPID",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
        let remote = unit("/usr/bin/cairn", "s3://bucket/a%20b", None, 1).unwrap();
        assert!(remote.contains("\"CAIRN_VAULT=s3://bucket/a%%20b\"") && !remote.contains("ReadWritePaths"), "{remote}");
        assert!(!remote.contains("LoadCredential"));
        assert!(unit("/usr/bin/cairn", "/srv/a\nb", None, 1).is_err());
    }
}
