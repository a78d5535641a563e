namespace Vhost.Tests.Support;

/// <summary>Programs of others that tests talk to when they are installed.</summary>
public static class Peers
{
    public static string? StorageDaemon => Find("qemu-storage-daemon");

    public static string? QemuImg => Find("qemu-img");

    public static string? QemuIo => Find("qemu-io");

    public static string? QemuSystem => Find("qemu-system-x86_64");

    public static string? CCompiler => Find("cc") ?? Find("gcc") ?? Find("clang");

    /// <summary>The path of the program, or the test is skipped saying what to install.</summary>
    public static string Require(string program, string package)
    {
        string? path = Find(program);
        Skip.If(path is null, $"{program} is not installed (Debian package {package}).");
        return path!;
    }

    private static string? Find(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "/usr/bin:/bin").Split(':')
            .Select(folder => Path.Combine(folder, program))
            .FirstOrDefault(File.Exists);
}
