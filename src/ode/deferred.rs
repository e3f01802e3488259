//! An observer on a thread of its own: it is told the same things in the same order, a little later.
//!
//! Observers never alter a run, so all they see is the same as without the thread. What they need of the field is copied, once per
//! step and side of an event; a bounded queue keeps the run from getting far ahead. While it is full, the run works for the observer.

use super::mode::Mode;
use super::observer::{BranchPoint, DenseOutput, Event, Observer, Point, StartContact, StepView};
use super::outcome::{Stats, StopReason};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};

/// What is on its way holds about this many numbers of type f64.
const QUEUE_VALUES: usize = 1 << 23;

/// What is prepared for the observer holds at most so many more.
const PREPARED_VALUES: usize = 1 << 24;

/// Messages are handed over by so many at most: waking the other thread for each would cost more than some steps.
const LARGEST_BATCH: usize = 16;

/// Batches in the queue.
const N_BATCHES: usize = 3;

/// Vectors as long as the state that a step with dense output holds, roughly.
const VECTORS_PER_STEP: usize = 12;

/// A field whose last evaluation can be copied.
pub trait Snapshot {
    /// Memory that [`prepare`](Self::prepare) uses again and again.
    type Tools: Default;

    /// A field that answers everything about the last evaluation as this one does, as far as a shared reference can ask.
    fn snapshot(&self) -> Self;

    /// Makes `kept`, a snapshot of the same field, one of the last evaluation; its memory is used again.
    fn snapshot_into(&self, kept: &mut Self);

    /// Works out, in a snapshot, what takes an observer long to ask for, if it fits into `room` numbers of type f64; returns how many it
    /// takes. Answers do not depend on whether this has been called.
    fn prepare(&mut self, tools: &mut Self::Tools, room: usize) -> usize {
        let _ = (tools, room);
        0
    }

    /// Gives what has been prepared back to the tools; returns how many numbers that is.
    fn give_back(&mut self, tools: &mut Self::Tools) -> usize {
        let _ = tools;
        0
    }
}

/// Calls `run` with an observer that hands on to `observer`, which works on another thread; returns when both are done.
///
/// When `observer` asks to stop, the run gets to know of it a few steps later, and `observer` is told of those as well. What an observer
/// answers about the run would come too late: dense output and the states inside strides are always made.
/// `dim` is the length of the state.
pub fn deferred<F, O, R>(dim: usize, observer: &mut O, run: impl FnOnce(&mut dyn Observer<F>) -> R) -> R
where
    F: Snapshot + Send,
    O: Observer<F> + Send,
{
    let n_messages = QUEUE_VALUES / (VECTORS_PER_STEP * dim.max(1));
    let batch_size = (n_messages / (N_BATCHES + 2)).clamp(1, LARGEST_BATCH);
    let (sender, receiver) = sync_channel(N_BATCHES);
    let room = if observer.asks_at_events() { PREPARED_VALUES } else { 0 };
    let (give_back, given_back) = channel();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || listen(receiver, give_back, observer, stop));
        // Dropping the front at the end of this block closes the queue.
        let (pool, batch, tools) = (Vec::new(), Vec::new(), F::Tools::default());
        run(&mut Front { queue: sender, given_back, pool, batch, batch_size, tools, room, stop })
    })
}

/// A point with everything that it refers to.
struct Kept<F> {
    t: f64,
    y: Vec<f64>,
    dy: Vec<f64>,
    mode: Mode,
    field: F,
    stats: Stats,
}

impl<F: Snapshot> Kept<F> {
    fn new(point: &Point<'_, F>) -> Self {
        Self {
            t: point.t,
            y: point.y.to_vec(),
            dy: point.dy.to_vec(),
            mode: point.mode.clone(),
            field: point.field.snapshot(),
            stats: *point.stats,
        }
    }

    fn take(&mut self, point: &Point<'_, F>) {
        self.t = point.t;
        self.y.clear();
        self.y.extend_from_slice(point.y);
        self.dy.clear();
        self.dy.extend_from_slice(point.dy);
        self.mode.clone_from(point.mode);
        point.field.snapshot_into(&mut self.field);
        self.stats = *point.stats;
    }

    fn point(&self) -> Point<'_, F> {
        Point { t: self.t, y: &self.y, dy: &self.dy, mode: &self.mode, field: &self.field, stats: &self.stats }
    }
}

enum Message<F> {
    Start(Box<Kept<F>>, Vec<StartContact>),
    Step {
        t_start: f64,
        length: f64,
        y_start: Vec<f64>,
        end: Box<Kept<F>>,
        dense: Box<dyn DenseOutput + Send>,
        ends_at_event: bool,
        is_of_stride: bool,
    },
    Event(Box<Kept<F>>, Event),
    BranchPoint(BranchPoint),
    End(Box<Kept<F>>, StopReason),
}

struct Front<'a, F: Snapshot> {
    queue: SyncSender<Vec<Message<F>>>,
    /// Points that the observer has seen; they come back so that their memory is used again.
    given_back: Receiver<Vec<Box<Kept<F>>>>,
    pool: Vec<Box<Kept<F>>>,
    batch: Vec<Message<F>>,
    batch_size: usize,
    tools: F::Tools,
    /// For what else may be prepared.
    room: usize,
    stop: &'a AtomicBool,
}

impl<F: Snapshot> Front<'_, F> {
    fn send(&mut self, message: Message<F>) {
        self.batch.push(message);
        if self.batch.len() >= self.batch_size {
            self.flush();
        }
    }

    /// Hands the batch over. While there is no place for it, the time is spent on what the observer would have to do.
    fn flush(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        let is_event = |message: &Message<F>| matches!(message, Message::Event(..));
        let events: Vec<usize> = (0..batch.len()).filter(|&k| self.room > 0 && is_event(&batch[k])).collect();
        for k in events {
            match self.queue.try_send(batch) {
                Err(TrySendError::Full(back)) => batch = back,
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
            }
            if let Message::Event(after, _) = &mut batch[k] {
                self.room -= after.field.prepare(&mut self.tools, self.room);
            }
        }
        // The other end only goes away when its thread panics, which the scope reports.
        let _ = self.queue.send(batch);
    }

    fn keep(&mut self, point: &Point<'_, F>) -> Box<Kept<F>> {
        if self.pool.is_empty() {
            self.pool = self.given_back.try_recv().unwrap_or_default();
        }
        match self.pool.pop() {
            Some(mut kept) => {
                self.room += kept.field.give_back(&mut self.tools);
                kept.take(point);
                kept
            }
            None => Box::new(Kept::new(point)),
        }
    }
}

impl<F: Snapshot> Drop for Front<'_, F> {
    fn drop(&mut self) {
        self.flush();
    }
}

impl<F: Snapshot> Observer<F> for Front<'_, F> {
    /// The observer's own answer would come too late.
    fn needs_dense(&self, _t_start: f64, _t_end: f64) -> bool {
        true
    }

    fn start(&mut self, point: &Point<'_, F>, contacts: &[StartContact]) {
        let point = self.keep(point);
        self.send(Message::Start(point, contacts.to_vec()));
    }

    fn step(&mut self, step: &StepView<'_, F>) -> ControlFlow<()> {
        let end = self.keep(&step.end);
        self.send(Message::Step {
            t_start: step.t_start,
            length: step.length,
            y_start: step.y_start.to_vec(),
            end,
            dense: step.dense.detached(),
            ends_at_event: step.ends_at_event,
            is_of_stride: step.is_of_stride,
        });
        if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn event(&mut self, after: &Point<'_, F>, event: &Event) {
        let after = self.keep(after);
        self.send(Message::Event(after, event.clone()));
    }

    fn branch_point(&mut self, branch: &BranchPoint) {
        self.send(Message::BranchPoint(*branch));
    }

    fn end(&mut self, point: &Point<'_, F>, reason: &StopReason) {
        let point = self.keep(point);
        self.send(Message::End(point, reason.clone()));
    }
}

fn listen<F: Snapshot>(
    queue: Receiver<Vec<Message<F>>>,
    give_back: Sender<Vec<Box<Kept<F>>>>,
    observer: &mut impl Observer<F>,
    stop: &AtomicBool,
) {
    for batch in queue {
        let mut seen = Vec::with_capacity(batch.len());
        for message in batch {
            match message {
                Message::Start(point, contacts) => {
                    observer.start(&point.point(), &contacts);
                    seen.push(point);
                }
                Message::Step { t_start, length, y_start, end, dense, ends_at_event, is_of_stride } => {
                    let view = StepView {
                        t_start,
                        length,
                        y_start: &y_start,
                        end: end.point(),
                        dense: &*dense,
                        ends_at_event,
                        is_of_stride,
                    };
                    if observer.step(&view).is_break() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    seen.push(end);
                }
                Message::Event(after, event) => {
                    observer.event(&after.point(), &event);
                    seen.push(after);
                }
                Message::BranchPoint(branch) => observer.branch_point(&branch),
                Message::End(point, reason) => observer.end(&point.point(), &reason),
            }
        }
        // The run may be over by now.
        let _ = give_back.send(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::RecvTimeoutError;
    use std::time::Duration;

    /// What is prepared of a field takes as much as this: three of them fit.
    const SIZE: usize = PREPARED_VALUES / 7 * 2;

    /// Knows whether it has been prepared, and tells what there was room for.
    struct Field {
        told: Sender<usize>,
        is_prepared: bool,
    }

    impl Snapshot for Field {
        type Tools = ();

        fn snapshot(&self) -> Self {
            Self { told: self.told.clone(), is_prepared: false }
        }

        fn snapshot_into(&self, kept: &mut Self) {
            assert!(!kept.is_prepared, "it has been given back");
        }

        fn prepare(&mut self, _tools: &mut (), room: usize) -> usize {
            self.is_prepared = room >= SIZE;
            self.told.send(room).expect("the test listens");
            usize::from(self.is_prepared) * SIZE
        }

        fn give_back(&mut self, _tools: &mut ()) -> usize {
            usize::from(std::mem::take(&mut self.is_prepared)) * SIZE
        }
    }

    /// Sees nothing until something has been prepared for it.
    struct Slow {
        asks: bool,
        told: Receiver<usize>,
        rooms: Vec<usize>,
        seen: Vec<bool>,
    }

    impl Observer<Field> for Slow {
        fn asks_at_events(&self) -> bool {
            self.asks
        }

        fn event(&mut self, after: &Point<'_, Field>, _event: &Event) {
            if self.seen.is_empty() {
                let patience = if self.asks { Duration::from_secs(60) } else { Duration::from_millis(50) };
                match self.told.recv_timeout(patience) {
                    Ok(room) => self.rooms.push(room),
                    Err(error) => assert!(!self.asks && error == RecvTimeoutError::Timeout, "{error}"),
                }
            }
            self.seen.push(after.field.is_prepared);
        }
    }

    #[test]
    fn a_run_that_has_to_wait_prepares_what_will_be_asked_for_and_only_that() {
        for asks in [true, false] {
            let (told, listener) = channel();
            let mut slow = Slow { asks, told: listener, rooms: Vec::new(), seen: Vec::new() };
            let field = Field { told, is_prepared: false };
            let (mode, stats) = (Mode::default(), Stats::default());
            let n_events = 200;
            deferred(1, &mut slow, |front: &mut dyn Observer<Field>| {
                for _ in 0..n_events {
                    let after = Point { t: 0.0, y: &[0.0], dy: &[0.0], mode: &mode, field: &field, stats: &stats };
                    front.event(&after, &Event { changes: Vec::new() });
                }
            });
            assert_eq!(slow.seen.len(), n_events);
            // What fits into the queue went there as it was.
            assert!(!slow.seen[0], "the first was not waited with");
            assert_eq!(slow.seen.contains(&true), asks);
            slow.rooms.extend(slow.told.try_iter());
            // Three are there at most, and room comes back with those that have been seen.
            assert!(
                slow.rooms.iter().all(|&room| (0..=3).any(|n| room == PREPARED_VALUES - n * SIZE)),
                "{:?}",
                slow.rooms
            );
            assert!(!asks || slow.rooms.contains(&(PREPARED_VALUES - 3 * SIZE)), "{:?}", slow.rooms);
        }
    }
}
