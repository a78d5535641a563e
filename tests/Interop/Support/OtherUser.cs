using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A user who may do nothing in particular, and starts programs of ours.</summary>
internal static class OtherUser
{
    /// <summary>Skips the test where there is no such user, he cannot start the program, or is allowed to have a userfaultfd.</summary>
    public static async Task RequireWithoutUserFaultsAsync(string assembly)
    {
        Skip.IfNot(Environment.IsPrivilegedProcess && File.Exists("/usr/bin/setpriv"), "another user can be had by root alone, with setpriv");
        Skip.IfNot((await ChildProcess.RunAsync("setpriv", Command("test", "-r", assembly))).ExitCode == 0, $"another user cannot read {assembly}");
        Skip.IfNot((await ChildProcess.RunAsync("setpriv", Command("test", "!", "-r", "/dev/userfaultfd"))).ExitCode == 0, "every user may open /dev/userfaultfd");
        Skip.IfNot((await File.ReadAllTextAsync("/proc/sys/vm/unprivileged_userfaultfd")).StartsWith('0'), "every user may have a userfaultfd");
    }

    public static ChildProcess Start(string assembly, params string[] arguments) => ChildProcess.Start("setpriv", Command(["dotnet", assembly, .. arguments]));

    private static string[] Command(params string[] command) => ["--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/nonexistent", .. command];
}
