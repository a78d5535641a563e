// My first back-end: a disk whose every sector says its own number. Serve it and look at it from another terminal (README.md, Recipes, says what vhost-user is):
//
//   dotnet run -c Release --project examples/BlockBackend -- /tmp/numbers.sock
//   vhost-user blk read --socket /tmp/numbers.sock --offset 512K --length 512 --output sector.txt
using BlockBackend;
using Vhost.Backend;
using Vhost.Protocol;

if (args is not [var socket])
{
    Console.Error.WriteLine("usage: BlockBackend SOCKET");
    return 2;
}

using CancellationTokenSource stop = new();
Console.CancelKeyPress += (_, key) =>
{
    key.Cancel = true;
    stop.Cancel();
};

await using VhostUserBackend backend = new(new NumberDisk());
try
{
    await using VhostUserListener listener = VhostUserListener.Listen(socket);
    Console.WriteLine($"listening on {socket}, Ctrl-C ends");
    await backend.ListenAsync(listener, stop.Token);
    return 0;
}
catch (Exception failure) when (failure is IOException or ArgumentException)
{
    Console.Error.WriteLine(failure.Message);
    return 1;
}
