// A guest at work moves from one host to another, and its device with it: a disk, and then a network card. Both hosts are this process; each has memory of its own and a back-end in a process of its own.
//
//   dotnet run -c Release --project examples/LiveMigration [-- [disk|net]... [--postcopy [--lose-back-end] | --go-back | --damage]]
//
// With --postcopy the guest goes on there before its memory has arrived, and page faults of its own and of the back-end are served from here. With --lose-back-end that back-end is killed in the middle of it.
// With --go-back the other host's back-end is killed before the guest goes on there, with --damage what it is told arrives damaged: in both cases the guest goes on where it was.
// The last line of each variant says how many bytes were compared, and for how long the guest stood still.
using LiveMigration;
using Vhost.Protocol;

const int WrongArguments = 2;
const int NoPostcopy = 3;
const int BackendLost = 4;

if (BackendProgram.Of(args) is { } backend)
{
    await backend.RunAsync();
    return 0;
}

bool postcopy = args.Contains("--postcopy");
bool loses = args.Contains("--lose-back-end");
bool goesBack = args.Contains("--go-back");
bool damages = args.Contains("--damage");
string[] variants = [.. args.Where(static argument => !argument.StartsWith("--", StringComparison.Ordinal))];
if (args.Except(["disk", "net", "--postcopy", "--lose-back-end", "--go-back", "--damage"], StringComparer.Ordinal).Any() || (loses && !postcopy) || ((goesBack || damages) && postcopy) || (goesBack && damages))
{
    Console.Error.WriteLine("LiveMigration [disk|net]... [--postcopy [--lose-back-end] | --go-back | --damage]");
    return WrongArguments;
}

if (postcopy)
{
    try
    {
        await Postcopy.RequireSupportAsync();
    }
    catch (LinuxException e)
    {
        Console.Error.WriteLine($"no postcopy for this user on this host: {e.Message}");
        return NoPostcopy;
    }
}

foreach (string variant in variants.Length > 0 ? variants : ["disk", "net"])
{
    Console.WriteLine($"-- {variant}");
    string folder = Directory.CreateTempSubdirectory("migration").FullName;
    try
    {
        await Run.MigrateAsync(variant, folder, postcopy, loses, goesBack, damages);
    }
    catch (VhostUserException e) when (loses)
    {
        Console.Error.WriteLine($"the device is lost: {e.Message}");
        return BackendLost;
    }
    finally
    {
        Directory.Delete(folder, recursive: true);
    }
}

return 0;
