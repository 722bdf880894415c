//! Sends requests when their time has come.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};
use windlass_workload::{Arrival, Lengths, seeded};

use super::account::{Answer, Failure};
use super::completion::Failed;
use super::{Shared, Traffic};

/// A user whose request failed does not ask again before this: failures are quick, and a flood of them helps nobody.
const USER_PAUSE: Duration = Duration::from_secs(1);
/// Before an attempt is repeated.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Starts the tasks that send. When they have ended, the tracker is closed.
pub(super) fn begin(shared: &Arc<Shared>, traffic: Traffic) {
    match traffic {
        Traffic::Open(arrivals) => {
            shared.tasks.spawn(open(shared.clone(), arrivals));
        }
        Traffic::Closed { users, think_time, lengths, seed, duration } => {
            let end = duration.and_then(|duration| shared.began.checked_add(duration));
            for number in 0..users as u64 {
                let user = User { think_time, lengths: lengths.clone(), end };
                shared.tasks.spawn(user.live(shared.clone(), number, seeded(seed.wrapping_add(number))));
            }
            shared.tasks.close();
        }
    }
}

async fn open(shared: Arc<Shared>, arrivals: Box<dyn Iterator<Item = Arrival> + Send>) {
    let mut arrivals = arrivals.zip(0..);
    while let Some((arrival, number)) = arrivals.next() {
        let scheduled = shared.began + arrival.at;
        let Some(slot) = shared.stop.run_until_cancelled(slot(&shared, scheduled)).await else {
            let due = shared.began.elapsed();
            let others = arrivals.take_while(|(arrival, _)| arrival.at <= due).count() as u64;
            shared.account.lock().unsent(others + u64::from(arrival.at <= due));
            break;
        };
        shared.sent(scheduled);
        let request = shared.clone();
        shared.tasks.spawn(async move {
            request.perform(number, arrival, scheduled).await;
            drop(slot);
        });
    }
    shared.tasks.close();
}

/// Waits for a request's time, then for its turn. Only a closed semaphore has no slots, and this one never is.
async fn slot(shared: &Shared, scheduled: Instant) -> Option<OwnedSemaphorePermit> {
    // The timer is no finer than a millisecond: what is due within it would only come later.
    if scheduled > Instant::now() {
        sleep_until(scheduled).await;
    }
    shared.slots.clone().acquire_owned().await.ok()
}

struct User {
    think_time: Duration,
    lengths: Lengths,
    end: Option<Instant>,
}

impl User {
    async fn live(self, shared: Arc<Shared>, user: u64, mut rng: impl Rng) {
        // No two requests of a load have the same number.
        for number in (user << 32).. {
            let scheduled = Instant::now();
            if self.end.is_some_and(|end| scheduled >= end) {
                return;
            }
            let Some(slot) = shared.stop.run_until_cancelled(slot(&shared, scheduled)).await else {
                return;
            };
            let (prompt_tokens, output_tokens) = self.lengths.sample(&mut rng);
            let arrival = Arrival { at: Duration::ZERO, prompt_tokens, output_tokens };
            shared.sent(scheduled);
            let done = shared.perform(number, arrival, scheduled).await;
            drop(slot);
            let pause = if done { self.think_time } else { self.think_time.max(USER_PAUSE) };
            if shared.stop.run_until_cancelled(self.pause(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Waits, but not beyond the end.
    async fn pause(&self, pause: Duration) {
        match self.end {
            Some(end) => sleep(pause.min(end.saturating_duration_since(Instant::now()))).await,
            None => sleep(pause).await,
        }
    }
}

impl Shared {
    fn sent(&self, scheduled: Instant) {
        let now = Instant::now();
        self.account.lock().sent(now - self.began, now.saturating_duration_since(scheduled));
    }

    /// Sends a request until it is answered, has failed for good or the load is aborted; whether it was answered.
    async fn perform(&self, number: u64, arrival: Arrival, scheduled: Instant) -> bool {
        let outcome = self.abort.run_until_cancelled(self.attempts(number, arrival, scheduled)).await;
        let mut account = self.account.lock();
        let Some(outcome) = outcome else {
            account.abandoned();
            return false;
        };
        account.over(self.began.elapsed(), outcome);
        outcome.is_ok()
    }

    async fn attempts(&self, number: u64, arrival: Arrival, scheduled: Instant) -> Result<Answer, Failure> {
        let body = self.sender.body(number, &arrival);
        let mut left = self.retries;
        loop {
            let attempt = match self.routes.pick(self.policy) {
                Some(route) => {
                    let begun = |ttft| self.account.lock().begun(self.began.elapsed(), ttft);
                    self.sender.send(route.address(), body.clone(), scheduled, begun).await
                }
                None => Err(Failed { failure: Failure::NoReadyPod, begun: false }),
            };
            match attempt {
                Ok(answer) => return Ok(answer),
                Err(Failed { failure, begun }) if left == 0 || begun || failure == Failure::TimedOut => {
                    return Err(failure);
                }
                Err(_) => {
                    left -= 1;
                    self.account.lock().retried();
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }
}
