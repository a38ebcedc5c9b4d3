//! A request that nobody's thread waits for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use unisono_tensor::mutant;

use super::lead::Request;
use super::{Admitted, Inner, Kept, Visit, WhenFull, in_time, note_stage};
use crate::coalescer::Refusal;
use crate::coalescer::queue::{Owner, Place, Traits};
use crate::coalescer::room::RoomPlace;
use crate::error::Error;
use crate::plan::Plan;
use crate::request::{Inputs, Outputs, RunOptions};
use crate::stall::notes::{Note, Stage, Tag, Who};
use crate::stats::tick;

/// The answer to a request, to come: made by [`Session::run_async`](crate::Session::run_async).
///
/// It may be polled by any executor and moved between threads. It keeps what it needs of its session. Dropping it takes the request back if it has not
/// begun; one that runs is not interrupted, and its answer thrown away.
#[must_use = "the answer comes out of it"]
pub struct RunFuture {
    session: Arc<Kept>,
    state: State,
    /// What is noted of it, if anybody watches.
    note: Option<Note>,
}

enum State {
    /// It was refused before it got into the queue.
    Failed(Error),
    /// It waits for its answer.
    Waiting(Place),
    /// It waits for room in the queue, until then.
    Outside(Box<(Request, Traits)>, Option<Instant>, RoomPlace),
    /// The answer has been given away.
    Over,
}

impl RunFuture {
    pub(super) fn new(session: &Arc<Kept>, inputs: Inputs<'_>, options: &RunOptions) -> RunFuture {
        let mut note = None;
        let state = match RunFuture::start(session, inputs, options, &mut note) {
            Ok(state) => state,
            Err(error) => {
                note = None;
                State::Failed(error)
            }
        };
        RunFuture {
            session: Arc::clone(session),
            state,
            note,
        }
    }

    fn start(
        session: &Inner,
        inputs: Inputs<'_>,
        options: &RunOptions,
        note: &mut Option<Note>,
    ) -> Result<State, Error> {
        let admitted = session.admit(inputs)?;
        let visit = session.enter(admitted.rows)?;
        // For now: its plan is found, and maybe compiled, on the calling thread.
        *note = session.note(&admitted, Who::me);
        let queued = RunFuture::queue(session, admitted, visit, options, note.as_deref());
        session.count_failure(queued.as_ref().err());
        queued
    }

    fn queue(
        session: &Inner,
        admitted: Admitted,
        visit: Visit,
        options: &RunOptions,
        tag: Option<&Tag>,
    ) -> Result<State, Error> {
        in_time(options.deadline)?;
        let plan = session.plan(&admitted.key, tag)?;
        let traits = session.traits(&plan, &admitted, options);
        session.permit(&plan);
        let mut outputs = Vec::new();
        outputs.resize_with(session.model.outputs().len(), || None);
        plan.allocate(admitted.rows, &mut outputs);
        let request = Request::new(plan, admitted, outputs, options.deadline, Some(visit), tag);
        // Before it can be claimed: from then on, whoever claims it knows better.
        if let Some(tag) = tag {
            tag.is_a_future();
            tag.enter(Stage::Queue);
        }
        match session.coalescer.submit(request, traits) {
            Ok(place) => Ok(State::Waiting(place)),
            Err((mut request, Refusal::Full)) if session.options.when_full != WhenFull::Error => {
                // Not under way yet: who drains the session does not wait for it.
                request.leave();
                note_stage(tag, Stage::Room);
                let until = match session.options.when_full {
                    WhenFull::WaitAtMost(time) => Instant::now().checked_add(time),
                    _ => None,
                };
                let room = session.coalescer.queue().enter_room(Owner::Future);
                Ok(State::Outside(Box::new((request, traits)), until, room))
            }
            Err((_, why)) => Err(session.refusal(why)),
        }
    }

    fn end(&mut self, result: Result<Outputs, Error>) -> Poll<Result<Outputs, Error>> {
        self.note = None;
        self.session.count_failure(result.as_ref().err());
        Poll::Ready(result)
    }

    fn answer(&self, request: Request) -> Result<Outputs, Error> {
        let (result, tensors) = request.into_answer();
        result.map(|()| Outputs {
            names: Some(Arc::clone(self.session.model.output_names())),
            tensors,
        })
    }
}

impl Future for RunFuture {
    type Output = Result<Outputs, Error>;

    /// # Panics
    /// If it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.get_mut();
        loop {
            match std::mem::replace(&mut future.state, State::Over) {
                State::Failed(error) => return Poll::Ready(Err(error)),
                State::Waiting(place) => {
                    if future.session.coalescer.poll(&place, cx).is_pending() {
                        future.state = State::Waiting(place);
                        return Poll::Pending;
                    }
                    let Some(request) = future.session.coalescer.collect(place) else {
                        unreachable!("news stays news until its owner collects it");
                    };
                    let answer = future.answer(request);
                    return future.end(answer);
                }
                State::Outside(outside, until, room) => {
                    let session = &future.session;
                    let (mut request, traits) = *outside;
                    request.visit = match session.visit() {
                        Ok(visit) => Some(visit),
                        Err(error) => {
                            session.coalescer.queue().leave_room(room);
                            return future.end(Err(error));
                        }
                    };
                    match session.coalescer.submit_from(room, request, traits, cx) {
                        Ok(Ok(place)) => {
                            future.state = State::Waiting(place);
                            if let Some(note) = &future.note {
                                note.found_room();
                            }
                        }
                        Ok(Err((mut request, room))) => {
                            request.leave();
                            if until.is_some_and(|until| Instant::now() >= until) {
                                session.coalescer.queue().leave_room(room);
                                return future.end(Err(session.refusal(Refusal::Full)));
                            }
                            future.state = State::Outside(Box::new((request, traits)), until, room);
                            return Poll::Pending;
                        }
                        Err(_) => return future.end(Err(session.refusal(Refusal::Closed))),
                    }
                }
                State::Over => panic!("a RunFuture was polled after it was ready"),
            }
        }
    }
}

impl Drop for RunFuture {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting(place) => {
                tick(&self.session.stats.cancelled);
                let back = self.session.coalescer.abandon(place);
                if mutant!(CancelledKept) {
                    std::mem::forget(back);
                }
            }
            State::Outside(_, _, room) => {
                tick(&self.session.stats.cancelled);
                self.session.coalescer.queue().leave_room(room);
            }
            State::Failed(_) | State::Over => {}
        }
    }
}

impl std::fmt::Debug for RunFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Failed(_) => "refused",
            State::Waiting(_) => "waiting",
            State::Outside(..) => "waiting for room",
            State::Over => "over",
        };
        f.debug_tuple("RunFuture").field(&state).finish()
    }
}
