//! Other name servers: asked by the library, one after the other until one answers; what they said is kept.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_resolver::config::{NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::{RuntimeProvider, TokioRuntimeProvider};
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{DnsRequestOptions, DnsResponse, Message, Query};
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{RData, Record};
use hickory_resolver::{NameServerPool, PoolContext, ResponseCache, TlsConfig, TtlConfig};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::super::outside::Provider;
use super::message::{Answer, DATAGRAM_MAX};
use super::system::ResolvConf;

/// How long one server may take: by UDP with repetitions, by TCP if need be.
const SERVER_MAX: Duration = Duration::from_millis(1500);

/// How long all of them together may take; resolvers give up after five seconds (resolv.conf(5), `timeout`).
const ALL_MAX: Duration = Duration::from_millis(4500);

/// The most answers that a network keeps, of each kind: with proofs and without.
const CACHE_MAX: u64 = 1000;

/// The longest answer that is kept, in bytes and in records: all that a network keeps is 20 MiB or less.
const KEPT_BYTES_MAX: usize = 4096;
const KEPT_RECORDS_MAX: usize = 64;

/// How long that no server answered is kept, so that a question that fails is not passed on again and again (RFC 9520, 3.2).
const FAILED_KEPT: Duration = Duration::from_secs(2);

/// The most questions of which that is kept.
const FAILED_MAX: usize = 512;

/// What the library's parts return.
type Exchanged<'a> = Pin<Box<dyn Future<Output = Result<DnsResponse, NetError>> + Send + 'a>>;

/// A server that can be asked, by whatever sockets.
trait Exchange: Send + Sync {
    fn exchange(&self, query: Query, options: DnsRequestOptions) -> Exchanged<'_>;
}

impl<P: RuntimeProvider> Exchange for NameServerPool<P> {
    fn exchange(&self, query: Query, options: DnsRequestOptions) -> Exchanged<'_> {
        Box::pin(self.lookup(query, options).first_answer())
    }
}

/// The servers of a network, and what they said.
pub(super) struct Upstream {
    /// None: the host's.
    named: Vec<SocketAddr>,
    system: ResolvConf,
    /// Sockets at an uplink; `None`: the host's.
    provider: Option<Provider>,
    servers: Mutex<HashMap<SocketAddr, Arc<dyn Exchange>>>,
    /// Which one answered last: it is asked first.
    preferred: AtomicUsize,
    /// Without and with proofs.
    caches: [ResponseCache; 2],
    failed: Mutex<HashMap<Query, Instant>>,
}

impl Upstream {
    /// The servers with these addresses, or those of the host.
    pub(super) fn new(named: &[SocketAddr], provider: Option<Provider>) -> Self {
        let cache = || ResponseCache::new(CACHE_MAX, TtlConfig::default());
        Self {
            named: named.to_vec(),
            system: ResolvConf::default(),
            provider,
            servers: Mutex::new(HashMap::new()),
            preferred: AtomicUsize::new(0),
            caches: [cache(), cache()],
            failed: Mutex::new(HashMap::new()),
        }
    }

    /// What is kept about a question.
    pub(super) fn kept(&self, query: &Query, wants_proof: bool) -> Option<Answer> {
        let kept = self.caches[usize::from(wants_proof)].get(query, Instant::now())?;
        answer(kept)
    }

    /// Asks the servers in turn; `None`: none of them gave an answer.
    pub(super) async fn ask(&self, query: &Query, wants_proof: bool) -> Option<Answer> {
        if self.has_failed(query) {
            return None;
        }
        let result = timeout(ALL_MAX, self.ask_each(query, wants_proof)).await.ok().flatten();
        if result.is_none() {
            self.note_failure(query);
        }
        let result = result?;
        self.keep(query, wants_proof, &result);
        answer(result.map(DnsResponse::into_message))
    }

    async fn ask_each(&self, query: &Query, wants_proof: bool) -> Option<Result<DnsResponse, NetError>> {
        let addresses = if self.named.is_empty() { self.system.servers() } else { self.named.clone() };
        let first = self.preferred.load(Ordering::Relaxed);
        for offset in 0..addresses.len() {
            let index = (first + offset) % addresses.len();
            let server = self.server(addresses[index])?;
            let mut options = DnsRequestOptions::default();
            options.edns_set_dnssec_ok = wants_proof;
            options.edns_payload_len = DATAGRAM_MAX;
            match timeout(SERVER_MAX, server.exchange(query.clone(), options)).await {
                Ok(result @ (Ok(_) | Err(NetError::Dns(DnsError::NoRecordsFound(_))))) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Some(result);
                }
                Ok(Err(error)) => tracing::debug!(server = %addresses[index], %error, "a name server failed"),
                Err(_) => tracing::debug!(server = %addresses[index], "a name server did not answer"),
            }
        }
        None
    }

    fn server(&self, address: SocketAddr) -> Option<Arc<dyn Exchange>> {
        let mut servers = self.servers.lock();
        if let Some(server) = servers.get(&address) {
            return Some(Arc::clone(server));
        }
        // Only the servers of a file can change: those that it no longer names need not be kept.
        servers.retain(|known, _| self.named.contains(known));
        let server: Arc<dyn Exchange> = match &self.provider {
            Some(provider) => Arc::new(pool(address, provider.clone())?),
            None => Arc::new(pool(address, TokioRuntimeProvider::default())?),
        };
        servers.insert(address, Arc::clone(&server));
        Some(server)
    }

    fn keep(&self, query: &Query, wants_proof: bool, result: &Result<DnsResponse, NetError>) {
        let cache = &self.caches[usize::from(wants_proof)];
        match result {
            Ok(response) => {
                let is_small = response.as_buffer().len() <= KEPT_BYTES_MAX
                    && response.all_sections().count() <= KEPT_RECORDS_MAX;
                if is_small && !response.truncation {
                    cache.insert(query.clone(), Ok(Message::clone(response)), Instant::now());
                }
            }
            // Without the zone's SOA nothing says for how long (RFC 2308, 5).
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) if none.negative_ttl.is_some() => {
                let is_small =
                    none.authorities.as_ref().is_none_or(|records| records.len() <= KEPT_RECORDS_MAX);
                if is_small {
                    cache.insert(
                        query.clone(),
                        result.as_ref().map(|_| Message::query()).map_err(Clone::clone),
                        Instant::now(),
                    );
                }
            }
            Err(_) => {}
        }
    }

    fn has_failed(&self, query: &Query) -> bool {
        self.failed.lock().get(query).is_some_and(|at| at.elapsed() < FAILED_KEPT)
    }

    fn note_failure(&self, query: &Query) {
        let mut failed = self.failed.lock();
        if failed.len() >= FAILED_MAX {
            failed.retain(|_, at| at.elapsed() < FAILED_KEPT);
        }
        if failed.len() < FAILED_MAX {
            failed.insert(query.clone(), Instant::now());
        }
    }
}

/// One server, asked by UDP with unpredictable ports, numbers and letters, and by TCP where an answer was truncated
/// (RFC 5452, 9; RFC 7766, 5).
fn pool<P: RuntimeProvider>(address: SocketAddr, provider: P) -> Option<NameServerPool<P>> {
    let mut options = ResolverOpts::default();
    options.timeout = SERVER_MAX;
    options.case_randomization = true;
    options.num_concurrent_reqs = 1;
    options.edns_payload_len = DATAGRAM_MAX;
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    let context = Arc::new(PoolContext::new(options, TlsConfig::new().ok()?));
    Some(NameServerPool::from_config([server], context, provider))
}

/// What a server said, as an answer; `None`: nothing that could be passed on.
fn answer(said: Result<Message, NetError>) -> Option<Answer> {
    match said {
        Ok(message) => {
            let mut answer = Answer::empty(message.response_code);
            answer.answers = settled(message.answers);
            answer.authorities = settled(message.authorities);
            answer.additionals = settled(message.additionals);
            Some(answer)
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            let mut answer = Answer::empty(none.response_code);
            let records = none.authorities.as_deref().unwrap_or_default().to_vec();
            answer.authorities = settled(records);
            Some(answer)
        }
        Err(_) => None,
    }
}

/// Records with names in small letters: those that came are at random.
fn settled(mut records: Vec<Record>) -> Vec<Record> {
    for record in &mut records {
        record.name = record.name.to_lowercase();
        if let RData::CNAME(CNAME(target)) = &mut record.data {
            *target = target.to_lowercase();
        }
    }
    records
}
