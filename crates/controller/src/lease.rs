//! Leader election on a `coordination.k8s.io/v1` Lease: the shell round the state machine in `elector`.

mod elector;

use std::time::Duration;

use jiff::{Timestamp, Unit};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::leadership::Leadership;
use crate::write;
pub(crate) use elector::Record;
use elector::{Answer, Elector, Found, Step};

pub use elector::Loss;

/// The three spans of an election. The defaults are client-go's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long a Lease must not be seen to change before another takes it.
    pub lease_duration: Duration,
    /// How long after the start of the last successful renewal a leader still leads.
    pub renew_deadline: Duration,
    /// From one look at the Lease, or one renewal, to the next.
    pub retry_period: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

impl Timing {
    /// client-go's conditions, and whole seconds for what the Lease says in seconds.
    pub fn validated(self) -> Result<Self, TimingError> {
        let Self { lease_duration, renew_deadline, retry_period } = self;
        if retry_period.is_zero() {
            return Err(TimingError::NoRetryPeriod);
        }
        if lease_duration.subsec_nanos() != 0 {
            return Err(TimingError::NotWholeSeconds(lease_duration));
        }
        if renew_deadline.as_secs_f64() <= 1.2 * retry_period.as_secs_f64() {
            return Err(TimingError::DeadlineTooShort { renew_deadline, retry_period });
        }
        if lease_duration <= renew_deadline {
            return Err(TimingError::LeaseTooShort { lease_duration, renew_deadline });
        }
        Ok(self)
    }
}

/// Why spans do not make an election.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// Zero.
    #[error("--retry-period must be longer than zero")]
    NoRetryPeriod,
    /// A fraction of a second.
    #[error("--lease-duration must be whole seconds, as a Lease says it; it is {0:?}")]
    NotWholeSeconds(Duration),
    /// No second attempt would fit in.
    #[error(
        "--renew-deadline ({renew_deadline:?}) must be longer than 1.2 × --retry-period ({retry_period:?}): \
         one failed renewal must not end a term"
    )]
    DeadlineTooShort {
        /// The renew deadline.
        renew_deadline: Duration,
        /// The retry period.
        retry_period: Duration,
    },
    /// Another could take over before the leader stops.
    #[error(
        "--lease-duration ({lease_duration:?}) must be longer than --renew-deadline ({renew_deadline:?}): \
         a leader has to stop before another begins"
    )]
    LeaseTooShort {
        /// The duration of the lease.
        lease_duration: Duration,
        /// The renew deadline.
        renew_deadline: Duration,
    },
}

/// Which Lease is contended for, by whom.
#[derive(Debug, Clone)]
pub struct Election {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// Our name among the candidates; no other may have it.
    pub identity: String,
    /// The spans.
    pub timing: Timing,
}

/// Stands in the election, or leads without one until `resign`.
pub(crate) async fn stand_or_lead(
    client: Client,
    election: Option<Election>,
    clock: Clock,
    leadership: watch::Sender<Leadership>,
    resign: CancellationToken,
) -> Result<(), Loss> {
    if let Some(election) = election {
        return stand(client, election, clock, leadership, resign).await;
    }
    leadership.send_replace(Leadership::alone());
    resign.cancelled().await;
    leadership.send_modify(Leadership::end);
    Ok(())
}

/// Stands for leader until `resign`, then gives the Lease back. Tells through `leadership` what came of it.
/// Ends by itself only when leadership was lost.
async fn stand(
    client: Client,
    election: Election,
    clock: Clock,
    leadership: watch::Sender<Leadership>,
    resign: CancellationToken,
) -> Result<(), Loss> {
    let api = Api::namespaced(client, &election.namespace);
    let mut elector = Elector::new(election.identity.clone(), election.timing);
    let mut problem = None;
    loop {
        if resign.is_cancelled() {
            elector.resign();
            // Before the others can know.
            leadership.send_modify(Leadership::end);
        }
        let asked = clock.now();
        let answer = match elector.next(asked, wall()) {
            Step::Read { within } => read(&api, &election.name, within).await,
            Step::Write { record, over, within } => write(&api, &election.name, &record, over, within).await,
            Step::Wait(until) => {
                tokio::select! {
                    () = tokio::time::sleep_until(clock.to_tokio(until)) => {}
                    () = resign.cancelled(), if !resign.is_cancelled() => {}
                }
                continue;
            }
            Step::Lost(loss) => {
                leadership.send_modify(Leadership::end);
                return Err(loss);
            }
            Step::Resigned => {
                if elector.record().is_some_and(|record| record.holder.is_none()) {
                    tracing::info!(lease = election.name, "the lease was given back");
                }
                return Ok(());
            }
        };
        elector.answered(asked, clock.now(), answer, rand::random());
        report(&elector, &election, &leadership);
        if elector.problem() != problem.as_deref() {
            problem = elector.problem().map(str::to_owned);
            if let Some(problem) = &problem {
                tracing::warn!(lease = election.name, problem, "the lease cannot be used; it is tried again");
            }
        }
    }
}

/// Tells everybody, and logs what is new.
fn report(elector: &Elector<ObjectMeta>, election: &Election, leadership: &watch::Sender<Leadership>) {
    let before = leadership.borrow().clone();
    let now = Leadership::of(elector.leads_until(), elector.record().cloned(), &before);
    if now.leading && !before.leading {
        let Election { namespace, name, identity, .. } = election;
        tracing::info!(namespace, lease = name, identity, transitions = now.transitions, "leading");
    } else if let Some(holder) = now.holder.as_ref().filter(|_| !now.leading && now.holder != before.holder) {
        tracing::info!(lease = election.name, holder, identity = election.identity, "following");
    }
    leadership.send_replace(now);
}

/// Now, as exactly as a Lease can say it.
fn wall() -> Timestamp {
    Timestamp::now().round(Unit::Microsecond).unwrap_or(Timestamp::UNIX_EPOCH)
}

async fn read(api: &Api<Lease>, name: &str, within: Duration) -> Answer<ObjectMeta> {
    answer(tokio::time::timeout(within, api.get(name)).await, within)
}

async fn write(
    api: &Api<Lease>,
    name: &str,
    record: &Record,
    over: Option<ObjectMeta>,
    within: Duration,
) -> Answer<ObjectMeta> {
    let exists = over.is_some();
    let metadata =
        over.unwrap_or_else(|| ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() });
    let lease = Lease { metadata, spec: Some(spec(record)) };
    answer(tokio::time::timeout(within, write::lease(api, name, &lease, exists)).await, within)
}

fn answer(
    outcome: Result<kube::Result<Lease>, tokio::time::error::Elapsed>,
    within: Duration,
) -> Answer<ObjectMeta> {
    match outcome {
        Ok(Ok(lease)) => Answer::Found(found(lease)),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Answer::Absent,
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Answer::Conflict,
        Ok(Err(error)) => Answer::Failed(error.to_string()),
        Err(_) => Answer::Failed(format!("no answer within {} s", within.as_secs_f64())),
    }
}

fn found(lease: Lease) -> Found<ObjectMeta> {
    let spec = lease.spec.unwrap_or_default();
    let record = Record {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs),
        transitions: spec.lease_transitions.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        acquired: spec.acquire_time.map(|time| time.0),
        renewed: spec.renew_time.map(|time| time.0),
    };
    // Kept whole: labels and owners are other people's. uid and resourceVersion make the next write a compare-and-swap.
    let version = ObjectMeta { managed_fields: None, ..lease.metadata };
    Found { record, version }
}

fn spec(record: &Record) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(record.holder.clone().unwrap_or_default()),
        lease_duration_seconds: record
            .duration
            .map(|duration| i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)),
        lease_transitions: Some(i32::try_from(record.transitions).unwrap_or(i32::MAX)),
        acquire_time: record.acquired.map(MicroTime),
        renew_time: record.renewed.map(MicroTime),
        ..LeaseSpec::default()
    }
}
