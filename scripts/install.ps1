# Installs Octaskly from this source tree on Windows, or removes what it installed.
#
#   powershell -ExecutionPolicy Bypass -File scripts\install.ps1 install   [-Prefix DIR]
#   powershell -ExecutionPolicy Bypass -File scripts\install.ps1 uninstall [-Prefix DIR]
#
# Prefix: C:\Program Files\octaskly in an elevated shell, %LOCALAPPDATA%\Programs\octaskly otherwise. The program goes to the
# prefix itself, which is added to PATH. Queues, keys and logs live in %LOCALAPPDATA%\octaskly and are never touched.
# This script could not be run by its authors; Windows is not a tested platform yet.
param(
    [Parameter(Mandatory = $true, Position = 0)][ValidateSet('install', 'uninstall')][string]$Action,
    [string]$Prefix
)
$ErrorActionPreference = 'Stop'

function Stop-With([string]$What, [string]$Hint) {
    [Console]::Error.WriteLine("error: $What")
    if ($Hint) { [Console]::Error.WriteLine("hint: $Hint") }
    exit 1
}

$identity = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
$elevated = $identity.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
$scope = if ($elevated) { 'Machine' } else { 'User' }
if (-not $Prefix) {
    $Prefix = if ($elevated) { Join-Path $env:ProgramFiles 'octaskly' } else { Join-Path $env:LOCALAPPDATA 'Programs\octaskly' }
}
$program = Join-Path $Prefix 'octaskly.exe'

function Get-PathEntries { @([Environment]::GetEnvironmentVariable('Path', $scope) -split ';' | Where-Object { $_ }) }

if ($Action -eq 'install') {
    if (-not (Get-Command cargo -ErrorAction SilentlyContinue)) { Stop-With 'cargo is missing' 'install Rust from https://rustup.rs' }
    $root = Split-Path -Parent $PSScriptRoot
    Push-Location $root
    try { cargo build --locked --release } finally { Pop-Location }
    if ($LASTEXITCODE -ne 0) { Stop-With 'the build failed; what it said stands above' 'a C compiler is needed: the Visual Studio Build Tools' }
    $target = if ($env:CARGO_TARGET_DIR) { $env:CARGO_TARGET_DIR } else { Join-Path $root 'target' }
    New-Item -ItemType Directory -Force -Path $Prefix | Out-Null
    Copy-Item -Force (Join-Path $target 'release\octaskly.exe') $program
    $entries = Get-PathEntries
    if ($entries -notcontains $Prefix) { [Environment]::SetEnvironmentVariable('Path', (($entries + $Prefix) -join ';'), $scope) }
    Write-Output "Installed $(& $program --version) to $program; open a new terminal to use it"
} else {
    if (-not (Test-Path $program)) { Stop-With "nothing is installed in $Prefix" 'say with -Prefix DIR where it is' }
    Remove-Item -Force $program
    if (-not (Get-ChildItem $Prefix)) { Remove-Item $Prefix }
    [Environment]::SetEnvironmentVariable('Path', ((Get-PathEntries | Where-Object { $_ -ne $Prefix }) -join ';'), $scope)
    Write-Output "Removed Octaskly from $Prefix"
}
