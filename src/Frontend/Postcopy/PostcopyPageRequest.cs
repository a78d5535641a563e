using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Asks for a page that somebody waits for, of the source of the migration for example. The page itself comes by <see cref="PostcopyMigration.Place"/>, from any thread, before or after this returns, and in any order.
/// </summary>
/// <remarks>Each page is asked for once. It is called from the thread pool and must not block; several calls may be under way at the same time. A failure ends the migration: <see cref="PostcopyMigration.Completion"/>.</remarks>
/// <param name="address">Where the page begins.</param>
/// <param name="length">Its bytes: a page of the file behind the region, so 4096, or 2 MiB for huge pages.</param>
/// <param name="cancellationToken">Cancelled when the migration is disposed.</param>
/// <returns>Completes when the page has been asked for.</returns>
public delegate ValueTask PostcopyPageRequest(GuestAddress address, ulong length, CancellationToken cancellationToken);
