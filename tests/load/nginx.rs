//! nginx as the yardstick: a plain reverse proxy with kept upstream connections and an access log.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use farebox_tests::{Result, measure::Family, tls::Certificate, wait};

/// Longest start.
const START_MAX: Duration = Duration::from_secs(10);

/// A running nginx.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
}

impl Nginx {
    /// Starts one in `folder` in front of `upstream`.
    pub(crate) async fn start(
        folder: &Path,
        upstream: SocketAddr,
        certificate: &Certificate,
    ) -> Result<Self> {
        let (plain, tls) = (free_address()?, free_address()?);
        let file = folder.join("nginx.conf");
        std::fs::write(
            &file,
            configuration(folder, upstream, plain, tls, certificate)?,
        )?;
        let child = Command::new("nginx")
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(&file)
            .args(["-g", "daemon off;"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("nginx cannot be started ({error}); install it with: apt-get install -y nginx-light"))?;
        let nginx = Self { child, plain, tls };
        wait::eventually("nginx listens", START_MAX, || async {
            tokio::net::TcpStream::connect(tls)
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await?;
        Ok(nginx)
    }

    /// All its processes.
    pub(crate) fn family(&self) -> Family {
        Family::of(self.child.id())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM to the master ends the workers too; a kill would orphan them.
        let _ = Command::new("kill")
            .arg("-TERM")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

fn configuration(
    folder: &Path,
    upstream: SocketAddr,
    plain: SocketAddr,
    tls: SocketAddr,
    certificate: &Certificate,
) -> Result<String> {
    let mut text = String::new();
    let folder = folder.display();
    let (cert, key) = (certificate.cert.display(), certificate.key.display());
    // Event streams need buffering off to arrive at all; plain answers keep nginx's own default.
    write!(
        text,
        "worker_processes auto;
worker_rlimit_nofile 65536;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 20000; }}
http {{
    access_log {folder}/nginx-access.log combined;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    keepalive_requests 100000000;
    keepalive_timeout 1h;
    upstream answers {{ server {upstream}; keepalive 256; keepalive_requests 100000000; }}
    server {{
        listen {plain} backlog=4096;
        listen {tls} ssl backlog=4096;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.3;
        proxy_http_version 1.1;
        proxy_set_header Connection \"\";
        proxy_read_timeout 1h;
        location /openai/ {{ proxy_pass http://answers/; }}
        location /sse/ {{ proxy_buffering off; proxy_pass http://answers/; }}
    }}
}}
"
    )?;
    Ok(text)
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
