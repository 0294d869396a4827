//! The routes of `/v1`. Each one finds out who calls, calls one use case, and answers.

use super::answer::{Answer, Failure, ndjson, stream_work};
use super::follow::{queue, send_events, send_log};
use super::listen::Peer;
use super::types::{
    BerthView, Berths, Cards, EventQuery, EventSummary, HealthView, Images, KeyName, ListQuery, LogQuery,
    NewHostKey, NewImage, NewKeys, NewSnapshot, NewUser, Queue, Renewal, Reservations, SummaryQuery,
    UserChange, Users, Version,
};
use crate::error::Fault;
use crate::ledger::{EventFilter, Reservation, TicketRow, User};
use crate::model::{Berth, BerthAct, BerthRequest, LimitChange, Ruling};
use crate::ops::gateway::GatewayView;
use crate::ops::image_check::ImageCheck;
use crate::ops::images::{ImageSource, ImageView};
use crate::ops::limits::UserView;
use crate::ops::reserve::NewReservation;
use crate::ops::rulings::NewRuling;
use crate::ops::usage::{Usage, UsageQuery};
use crate::ops::{Caller, Node};
use anyhow::Result;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// `berth cards` shows health that is at most this old.
const FRESH: Duration = Duration::from_secs(2);
/// How many of the newest events are sent where the request does not say.
const LAST: u32 = 1000;
/// How many lines of a berth's log are sent where the request does not say.
const LOG_LINES: u32 = 100;

type Shared = State<Arc<Node>>;
type Body<T> = Result<Json<T>, JsonRejection>;
type Asked<T> = Result<Query<T>, QueryRejection>;
/// The values in the path of a request.
struct Part<T>(T);

pub(super) fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/v1/version", get(version))
        .route("/v1/health", get(health))
        .route("/v1/cards", get(cards))
        .route("/v1/berths", get(list_berths).post(request_berth))
        .route(
            "/v1/berths/{*name}",
            get(show_berth).post(act_on_berth).patch(renew_berth).delete(release_berth),
        )
        .route("/v1/cards/{id}/ruling", post(rule_card).delete(clear_card))
        .route("/v1/logs/{*name}", get(berth_logs))
        .route("/v1/queue", get(show_queue))
        .route("/v1/reservations", get(list_reservations).post(reserve))
        .route("/v1/reservations/{id}", delete(end_reservation))
        .route("/v1/tickets", post(request_detached))
        .route("/v1/tickets/{id}", delete(cancel))
        .route("/v1/usage", get(show_usage))
        .route("/v1/gateway", get(show_gateway))
        .route("/v1/users", get(list_users).post(add_user))
        .route("/v1/users/{name}", get(show_user).patch(change_user).delete(remove_user))
        .route("/v1/users/{name}/keys", post(add_keys).delete(remove_key))
        .route("/v1/users/{name}/limit", post(limit_user))
        .route("/v1/users/{name}/host-key", post(rotate_host_key))
        .route("/v1/images", get(list_images).post(add_image))
        .route("/v1/images/pull", post(pull_image))
        .route("/v1/images/import", post(import_image))
        .route("/v1/images/{name}", delete(remove_image))
        .route("/v1/images/{name}/check", post(check_image))
        .route("/v1/images/{name}/default", post(set_default_image))
        .route("/v1/snapshots", post(make_snapshot))
        .route("/v1/snapshots/{owner}/{name}", delete(remove_snapshot))
        .route("/v1/snapshots/{owner}/{name}/check", post(check_snapshot))
        .route("/v1/events", get(events))
        .route("/v1/events/summary", get(event_summary))
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .layer(DefaultBodyLimit::max(super::desk::BODY_BYTES))
        .with_state(node)
}

impl FromRequestParts<Arc<Node>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, node: &Arc<Node>) -> Result<Self, Failure> {
        match parts.extensions.get::<ConnectInfo<Peer>>().map(|info| &info.0) {
            Some(Peer::Uid(uid)) => Ok(node.caller(*uid).await?),
            Some(Peer::Gateway(user)) => Ok(node.gateway_caller(user).await?),
            Some(Peer::Unknown) | None => {
                Err(Fault::refused("the kernel does not say who is calling").into())
            }
        }
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Node>> for Part<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, node: &Arc<Node>) -> Result<Self, Failure> {
        let part = Path::from_request_parts(parts, node).await;
        part.map(|Path(part)| Self(part)).map_err(|error| Fault::usage(error.body_text()).into())
    }
}

fn body<T>(body: Body<T>) -> Result<T, Failure> {
    body.map(|Json(value)| value).map_err(|error| Fault::usage(error.body_text()).into())
}

fn asked<T>(query: Asked<T>) -> Result<T, Failure> {
    query.map(|Query(value)| value).map_err(|error| Fault::usage(error.body_text()).into())
}

async fn no_route() -> Failure {
    Fault::usage("there is no such call; is this berth older or newer than its agent?").into()
}

async fn version(State(node): Shared, _caller: Caller) -> Answer<Version> {
    let settings = node.settings();
    Ok(Json(Version {
        api: 1,
        version: env!("CARGO_PKG_VERSION").into(),
        instance: node.instance.clone(),
        profile: settings.profile.name.clone(),
        simulated: settings.profile.simulation.is_some(),
    }))
}

async fn health(State(node): Shared, _caller: Caller) -> Answer<HealthView> {
    Ok(Json(HealthView { tasks: node.tasks() }))
}

async fn cards(State(node): Shared, _caller: Caller) -> Answer<Cards> {
    let survey = node.survey(FRESH).await?;
    Ok(Json(Cards {
        schema: 1,
        tool_version: survey.npu.tool_version.clone(),
        driver_version: survey.npu.driver_version.clone(),
        error: survey.npu.error.clone(),
        not_looked: survey.not_looked,
        cards: survey.cards,
        full: node.full_places(),
    }))
}

async fn rule_card(
    State(node): Shared,
    caller: Caller,
    Part(id): Part<u32>,
    new: Body<NewRuling>,
) -> Answer<Ruling> {
    Ok(Json(node.rule_card(&caller, id, body(new)?).await?))
}

async fn clear_card(State(node): Shared, caller: Caller, Part(id): Part<u32>) -> Answer<()> {
    Ok(Json(node.clear_card(&caller, id).await?))
}

fn view(node: &Node, berth: Berth) -> BerthView {
    let ssh_jump = node.jump_word(&berth.owner);
    let idle = node.idle_views(std::slice::from_ref(&berth)).remove(&berth.id);
    BerthView { berth: node.with_lease_state(berth), ssh_host: node.ssh_host(), ssh_jump, idle }
}

async fn list_berths(State(node): Shared, caller: Caller, query: Asked<ListQuery>) -> Answer<Berths> {
    let query = asked(query)?;
    let berths = node.berths(&caller, query.all).await?;
    let idle = node.idle_views(&berths);
    let berths = berths.into_iter().map(|berth| node.with_lease_state(berth)).collect();
    Ok(Json(Berths { berths, idle, full: node.full_places() }))
}

async fn show_berth(State(node): Shared, caller: Caller, Part(name): Part<String>) -> Answer<BerthView> {
    let berth = node.find_berth(&caller, &name).await?;
    Ok(Json(view(&node, berth)))
}

async fn request_berth(
    State(node): Shared,
    caller: Caller,
    request: Body<BerthRequest>,
) -> Result<Response, Failure> {
    let request = body(request)?;
    Ok(stream_work(move |progress| async move {
        let berth = Box::pin(node.request(&caller, request, &progress)).await?;
        Ok(view(&node, berth))
    }))
}

async fn release_berth(State(node): Shared, caller: Caller, Part(name): Part<String>) -> Response {
    stream_work(move |progress| async move { node.release(&caller, &name, &progress).await })
}

async fn act_on_berth(
    State(node): Shared,
    caller: Caller,
    Part(name): Part<String>,
    act: Body<BerthAct>,
) -> Result<Response, Failure> {
    let act = body(act)?;
    Ok(stream_work(move |progress| async move {
        let berth = match act {
            BerthAct::Stop {} => node.stop_berth(&caller, &name, &progress).await?,
            BerthAct::Keep {} => node.keep_berth(&caller, &name).await?,
            BerthAct::Lock(lock) => node.lock_berth(&caller, &name, lock).await?,
            BerthAct::Unlock {} => node.unlock_berth(&caller, &name).await?,
            BerthAct::Rename { name: new } => node.rename_berth(&caller, &name, &new).await?,
            BerthAct::Resize(resize) => node.resize_berth(&caller, &name, resize.wish()?).await?,
            BerthAct::Start(start) => Box::pin(node.start_berth(&caller, &name, start, &progress)).await?,
        };
        Ok(view(&node, berth))
    }))
}

async fn renew_berth(
    State(node): Shared,
    caller: Caller,
    Part(name): Part<String>,
    renewal: Body<Renewal>,
) -> Answer<BerthView> {
    let berth = node.renew(&caller, &name, body(renewal)?.lease).await?;
    Ok(Json(view(&node, berth)))
}

async fn list_reservations(State(node): Shared, _caller: Caller) -> Answer<Reservations> {
    Ok(Json(Reservations { reservations: node.reservations().await? }))
}

async fn reserve(State(node): Shared, caller: Caller, new: Body<NewReservation>) -> Answer<Reservation> {
    Ok(Json(node.reserve(&caller, body(new)?).await?))
}

async fn end_reservation(State(node): Shared, caller: Caller, Part(id): Part<i64>) -> Answer<Reservation> {
    Ok(Json(node.end_reservation(&caller, id).await?))
}

async fn request_detached(
    State(node): Shared,
    caller: Caller,
    request: Body<BerthRequest>,
) -> Answer<TicketRow> {
    Ok(Json(node.request_detached(&caller, body(request)?).await?))
}

async fn cancel(State(node): Shared, caller: Caller, Part(id): Part<i64>) -> Answer<TicketRow> {
    Ok(Json(node.cancel(&caller, id).await?))
}

async fn berth_logs(
    State(node): Shared,
    caller: Caller,
    Part(name): Part<String>,
    query: Asked<LogQuery>,
) -> Result<Response, Failure> {
    let LogQuery { last, follow } = asked(query)?;
    let log = node.berth_logs(&caller, &name, last.unwrap_or(LOG_LINES)).await?;
    let (lines, body) = queue();
    tokio::spawn(send_log(node, log, follow, lines));
    Ok(ndjson(body))
}

async fn show_queue(State(node): Shared, _caller: Caller) -> Answer<Queue> {
    Ok(Json(Queue { waiting: node.queue().await? }))
}

async fn show_usage(State(node): Shared, _caller: Caller, query: Asked<UsageQuery>) -> Answer<Usage> {
    Ok(Json(node.usage(&asked(query)?).await?))
}

async fn show_gateway(State(node): Shared, _caller: Caller) -> Answer<GatewayView> {
    Ok(Json(node.gateway().await?))
}

async fn list_users(State(node): Shared, caller: Caller) -> Answer<Users> {
    Ok(Json(Users { users: node.users(&caller).await? }))
}

async fn show_user(State(node): Shared, caller: Caller, Part(name): Part<String>) -> Answer<UserView> {
    Ok(Json(node.user_view(&caller, &name).await?))
}

async fn limit_user(
    State(node): Shared,
    caller: Caller,
    Part(name): Part<String>,
    change: Body<LimitChange>,
) -> Answer<UserView> {
    Ok(Json(node.set_limit(&caller, &name, body(change)?).await?))
}

async fn add_user(State(node): Shared, caller: Caller, new: Body<NewUser>) -> Answer<User> {
    let new = body(new)?;
    Ok(Json(node.add_user(&caller, &new.name, &new.keys, new.login).await?))
}

async fn change_user(
    State(node): Shared,
    caller: Caller,
    Part(name): Part<String>,
    change: Body<UserChange>,
) -> Answer<User> {
    Ok(Json(node.set_login(&caller, &name, body(change)?.login).await?))
}

async fn remove_user(State(node): Shared, caller: Caller, Part(name): Part<String>) -> Answer<()> {
    Ok(Json(node.remove_user(&caller, &name).await?))
}

async fn add_keys(
    State(node): Shared,
    caller: Caller,
    Part(name): Part<String>,
    keys: Body<NewKeys>,
) -> Answer<User> {
    Ok(Json(node.add_keys(&caller, &name, &body(keys)?.keys).await?))
}

async fn remove_key(
    State(node): Shared,
    caller: Caller,
    Part(name): Part<String>,
    key: Asked<KeyName>,
) -> Answer<User> {
    Ok(Json(node.remove_key(&caller, &name, &asked(key)?.fingerprint).await?))
}

async fn rotate_host_key(
    State(node): Shared,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<NewHostKey> {
    let (user, berths) = node.rotate_host_key(&caller, &name).await?;
    let berths = berths.into_iter().map(|berth| view(&node, berth)).collect();
    Ok(Json(NewHostKey { user: user.name, berths }))
}

async fn list_images(State(node): Shared, caller: Caller) -> Answer<Images> {
    Ok(Json(Images { images: node.images(&caller).await? }))
}

async fn make_snapshot(
    State(node): Shared,
    caller: Caller,
    new: Body<NewSnapshot>,
) -> Result<Response, Failure> {
    let new = body(new)?;
    Ok(stream_work(
        move |progress| async move { node.snapshot(&caller, &new.berth, &new.image, &progress).await },
    ))
}

async fn remove_snapshot(
    State(node): Shared,
    caller: Caller,
    Part((owner, name)): Part<(String, String)>,
) -> Answer<()> {
    Ok(Json(node.remove_snapshot(&caller, &owner, &name).await?))
}

async fn check_snapshot(
    State(node): Shared,
    caller: Caller,
    Part((owner, name)): Part<(String, String)>,
) -> Answer<ImageCheck> {
    Ok(Json(node.check_snapshot(&caller, &owner, &name).await?))
}

async fn add_image(State(node): Shared, caller: Caller, new: Body<NewImage>) -> Answer<ImageView> {
    Ok(Json(node.add_image(&caller, source(body(new)?)).await?))
}

async fn pull_image(State(node): Shared, caller: Caller, new: Body<NewImage>) -> Result<Response, Failure> {
    let new = source(body(new)?);
    Ok(stream_work(move |progress| async move { node.pull_image(&caller, new, &progress).await }))
}

async fn import_image(State(node): Shared, caller: Caller, new: Body<NewImage>) -> Result<Response, Failure> {
    let new = body(new)?;
    let file = new.file.clone().ok_or_else(|| Fault::usage("no file was named"))?;
    let new = source(new);
    Ok(stream_work(move |progress| async move { node.import_image(&caller, new, &file, &progress).await }))
}

fn source(new: NewImage) -> ImageSource {
    ImageSource { name: new.name, reference: new.reference, description: new.description, sudo: new.sudo }
}

async fn remove_image(State(node): Shared, caller: Caller, Part(name): Part<String>) -> Answer<()> {
    Ok(Json(node.remove_image(&caller, &name).await?))
}

async fn check_image(State(node): Shared, caller: Caller, Part(name): Part<String>) -> Answer<ImageCheck> {
    Ok(Json(node.check_image(&caller, &name).await?))
}

async fn set_default_image(
    State(node): Shared,
    caller: Caller,
    Part(name): Part<String>,
) -> Answer<ImageView> {
    Ok(Json(node.set_default_image(&caller, &name).await?))
}

async fn events(State(node): Shared, caller: Caller, query: Asked<EventQuery>) -> Result<Response, Failure> {
    let query = asked(query)?;
    let filter = EventFilter {
        owner: query.user,
        berth: query.berth,
        kind: query.kind,
        since: query.since,
        decisions: query.decisions,
    };
    let from = node.look_back(&caller, query.after, query.last.unwrap_or(LAST), filter).await?;
    let (lines, body) = queue();
    tokio::spawn(send_events(node, from, query.follow, lines));
    Ok(ndjson(body))
}

async fn event_summary(
    State(node): Shared,
    caller: Caller,
    query: Asked<SummaryQuery>,
) -> Answer<EventSummary> {
    let SummaryQuery { user, kind, since, decisions } = asked(query)?;
    let filter = EventFilter { owner: user, berth: None, kind, since, decisions };
    let (sums, keep) = node.event_summary(&caller, filter).await?;
    Ok(Json(EventSummary { keep: keep.map(|keep| keep.as_secs()), sums }))
}
